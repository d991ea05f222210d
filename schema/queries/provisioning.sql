-- The Things Stack: connections, the credentials in them, and devices to register and to remove.

-- name: sweep_tenants
-- Every tenant there is.
SELECT tenant_id FROM sweep_tenants() AS t (tenant_id);

-- name: find_connection
-- An organization's connection with everything, sealed values as they are.
-- params: tenant, organization
SELECT * FROM ttn_connections WHERE tenant_id = $1 AND organization_id = $2;

-- name: lock_connection
-- As find_connection, held against others.
-- params: tenant, organization
SELECT * FROM ttn_connections WHERE tenant_id = $1 AND organization_id = $2 FOR UPDATE;

-- name: organizations
-- Which organizations of a tenant have a connection, at most two: one, or too many to guess.
-- params: tenant
SELECT organization_id FROM ttn_connections WHERE tenant_id = $1 ORDER BY organization_id LIMIT 2;

-- name: list_connections
-- Connections by organization, from the one after.
-- params: tenant, organization to begin after, most
SELECT * FROM ttn_connections WHERE tenant_id = $1 AND organization_id > $2 ORDER BY organization_id LIMIT $3;

-- name: recorded_devices
-- Devices that were registered or begun to be, and on which hosts, by id from the one after.
-- params: tenant, organization, application, device to begin after, most
SELECT device_id, dev_eui, join_eui, network_host, application_host, join_host, state, registered_in
FROM ttn_devices
WHERE tenant_id = $1 AND organization_id = $2 AND application_id = $3 AND device_id > $4 AND state <> 'removed'
ORDER BY device_id LIMIT $5;
