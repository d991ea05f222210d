"""Mosquitto's configuration: the deployed mosquitto.conf and the embedded one, from one source.

`render_config(DEPLOYED)` is the file mosquitto.conf at the top of the repository, letter by letter
(a test keeps them equal; `python -m broker.mosquitto_config > mosquitto.conf` writes it), and `up`
renders the same with its own ports and paths. Needs Mosquitto 2.0.12 or newer: older ones put a
mount point in front of what they receive and never take it off what they send.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Final

from schema.access import DEFAULT_TENANT, TopicsMode, check_tenant


@dataclass(frozen=True, slots=True)
class Bind:
    """Where a listener listens; an empty `address` is every interface."""

    port: int
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MosquittoConfig:
    """What differs between installations; all else is the same everywhere.

    `auth_directory` is the one that `broker.access.AccessFiles` writes. `tenants` are the further
    tenants, each with the listener of its own. `user` is the account that Mosquitto takes when
    started as root. A listener that is None is left out. Paths are absolute.
    """

    auth_directory: str = "/mosquitto/auth"
    data_directory: str = "/mosquitto/data"
    pid_file: str | None = "/mosquitto/data/mosquitto.pid"
    user: str | None = None
    plain: Bind | None = Bind(1883)
    devices: Bind | None = Bind(8883)
    operators: Bind | None = Bind(8884)
    internal: Bind = Bind(1884)
    tenants: tuple[tuple[str, Bind], ...] = ()
    topics_mode: TopicsMode = "mounted"


DEPLOYED: Final = MosquittoConfig()
"""The containers' configuration: their network is the wall, so listeners bind every interface."""


def render_config(config: MosquittoConfig) -> str:
    """Return the whole mosquitto.conf for `config`, each line under a comment that says why.

    Raises ValueError for a path with a line break, a tenant id out of pattern, and further tenants
    in plain mode or of the name ``default``.
    """
    auth = _path(config.auth_directory)
    plain_mode = config.topics_mode == "plain"
    mount = "" if plain_mode else _MOUNT.format(tenant=DEFAULT_TENANT)
    tls = _TLS.format(auth=auth)
    text = _GLOBAL.format(auth=auth, data=_path(config.data_directory))
    if config.pid_file:
        text += _PID_FILE.format(pid_file=_path(config.pid_file))
    if config.user:
        text += _USER.format(user=_path(config.user))
    text += _INTERNAL + _listener(config.internal)
    if config.plain:
        text += _PLAIN + _listener(config.plain) + mount
    if config.devices:
        certificates = _CERTIFICATES.format(auth=auth)
        text += _DEVICES + _listener(config.devices) + mount + tls + certificates
    if config.operators:
        text += _OPERATORS + _listener(config.operators) + mount + tls
    return text + "".join(_tenant(tenant, bind, config) for tenant, bind in config.tenants)


def _tenant(tenant_id: str, bind: Bind, config: MosquittoConfig) -> str:
    if tenant_id == DEFAULT_TENANT or config.topics_mode == "plain":
        raise ValueError(f"tenant {tenant_id!r} cannot have a listener beside the default tenant's")
    auth = f"{_path(config.auth_directory)}/tenants/{check_tenant(tenant_id)}"
    mount, tls = _MOUNT.format(tenant=tenant_id), _TLS.format(auth=auth)
    opening = _TENANT.format(tenant=tenant_id) + _listener(bind)
    return opening + mount + tls + _CERTIFICATES.format(auth=auth)


def _listener(bind: Bind) -> str:
    return f"listener {bind.port} {_path(bind.address)}".rstrip() + "\n"


def _path(text: str) -> str:
    if any(ord(character) < ord(" ") for character in text):
        raise ValueError(f"{text[:80]!r} holds a control character")
    return text


_GLOBAL: Final = """\
# ------------------------------------------------------------------------------------------------
# Mosquitto for jobbroker: who may connect, and how messages wait. Mosquitto 2.0.12 or newer. Each
# line says why it is there. Comments stand on lines of their own, because Mosquitto takes one
# behind a value as part of the value.
# ------------------------------------------------------------------------------------------------

# One set of rules for all listeners. With `true`, some versions (2.0.22) check the rules for a
# device that is offline wrongly and lose what was queued for it.
per_listener_settings false
# Everybody says who they are.
allow_anonymous false

# Written by the broker, which then sends SIGHUP: a new credential needs no restart. A reload
# checks every connected client again (0.1 ms each) and closes those whose token is gone.
password_file {auth}/passwd
# Who may say what. Checked behind the mount point, so its topics begin with the tenant. Mosquitto
# lets anybody subscribe to anything and then delivers only what this file lets them read.
acl_file {auth}/acl

# Send at once. The default waits for more to send and costs each request about 44 ms: one device
# alone gets 23 answers a second instead of thousands.
set_tcp_nodelay true
# How many QoS 1 messages may be on their way to or from one client unacknowledged. The default of
# 20 would hold the broker at 20 unacknowledged publishes; devices that state a Receive Maximum of
# their own are held to theirs.
max_inflight_messages 1000
# How many messages wait for one client: so many that bytes decide. The default of 1000 drops what
# is beyond it silently, while the sender is told that all is well. Not 0, for no limit: with it,
# 2.0.21 takes its own queue for full on each refused publish and closes the connection.
max_queued_messages 1000000
# So the bound is in bytes, per client: 256 MiB is some 400,000 requests, far more than the broker
# leaves waiting, and a client that never reads cannot take all memory.
max_queued_bytes 268435456
# The largest packet: a job document is 32 KiB at most, a request for the MQTT server's memory is
# not. Larger ones close the connection of who sent them.
max_packet_size 262144
# Nothing is retained: a notification that is old news is worse than none, a device asks for its
# jobs after connecting.
retain_available false

# Sessions and queues are written to disk, so that a planned restart (SIGTERM saves) loses no
# subscription and no queued notification. It does NOT make an acknowledged message durable: after
# a crash all since the last save is gone, whatever is set here, and saving on every change costs
# nine tenths of the throughput. Truth is in PostgreSQL: devices ask again, and the broker tells
# again what may have been lost.
persistence true
# Saved every five minutes as well: sessions mostly survive a crash, and rewriting the file, which
# holds everything up meanwhile, stays rare.
autosave_interval 300
# A device that stays away for two weeks is forgotten with what waited for it; it asks for its
# jobs when it is back. The default keeps sessions of scrapped devices forever.
persistent_client_expiration 14d
# How often $SYS is published; `jobbroker check` reads the queue limits there.
sys_interval 10

# To the container's or the parent's own log, with times that sort.
log_dest stderr
log_timestamp_format %Y-%m-%dT%H:%M:%S
log_type error
log_type warning
log_type notice
# A fleet that reconnects would fill the disk with two lines for each device.
connection_messages false

# Where sessions are kept; the slash at the end matters.
persistence_location {data}/
"""

_PID_FILE: Final = """\
# Whom to send the SIGHUP.
pid_file {pid_file}
"""

_USER: Final = """\
# Started as root, it stays the account that owns the files above.
user {user}
"""

_INTERNAL: Final = """\

# ------------------------------------------------------------------------------------------------
# The broker's own: the only listener without a mount point, so the only one where every tenant's
# topics, $SYS and the shared subscriptions of the broker can be reached. Keep it on loopback or
# on a private network; never publish this port.
# ------------------------------------------------------------------------------------------------
"""

_PLAIN: Final = """\

# ------------------------------------------------------------------------------------------------
# Things and operators by name and token, without TLS: for development and for the same host only.
# In a container publish it as 127.0.0.1:1883; outside of one give the address 127.0.0.1 behind
# the port. Tokens cross it readable. Client ids are free here, so that an operator may hold
# several connections.
# ------------------------------------------------------------------------------------------------
"""

_DEVICES: Final = """\

# ------------------------------------------------------------------------------------------------
# Devices: TLS, and a client certificate of our authority proves the name. The one way that
# unmodified AWS SDKs can use, since they append to the username. An operator with a
# certificate connects here too, once at a time.
# ------------------------------------------------------------------------------------------------
"""

_OPERATORS: Final = """\

# ------------------------------------------------------------------------------------------------
# Operators, and things with a token: TLS, then name and token as above. Mosquitto cannot take
# either a certificate or a token on one listener; holders of a certificate use the devices'
# listener.
# ------------------------------------------------------------------------------------------------
"""

_TENANT: Final = """\

# ------------------------------------------------------------------------------------------------
# Tenant {tenant}: a listener and an authority of its own, for a certificate says a name and only
# the listener says the tenant. Certificates only.
# ------------------------------------------------------------------------------------------------
"""

_MOUNT: Final = """\
# Put in front of every topic and taken off again, unseen by the client: this is the wall between
# tenants, and what keeps clients out of $SYS, $CONTROL and the broker's shared subscriptions.
mount_point {tenant}/
"""

_TLS: Final = """\
# Our own authority: `jobbroker ca init`.
cafile {auth}/ca.crt
certfile {auth}/server.crt
keyfile {auth}/server.key
# The oldest TLS that is spoken.
tls_version tlsv1.2
"""

_CERTIFICATES: Final = """\
# No certificate, no handshake.
require_certificate true
# Who is refused although the certificate is good. Read again on SIGHUP; a client that is
# connected stays until it reconnects. A list past its date refuses EVERYBODY; the broker renews
# it at half its life.
crlfile {auth}/crl.pem
# The certificate's common name is the username, whatever the client sends as such.
use_identity_as_username true
# And the client id, so that no device can take over another's session.
use_username_as_clientid true
"""


if __name__ == "__main__":
    sys.stdout.write(render_config(DEPLOYED))
