"""What the installation tells of itself."""

from __future__ import annotations

from broker.simulator.things_stack.call import Call, Reply
from broker.simulator.things_stack.errors import unauthenticated
from broker.simulator.things_stack.routes import Route


def routes() -> list[Route]:
    """The identity server's configuration, and the formats that webhooks know."""
    return [
        Route("is", "GET", "/is/configuration", configuration),
        Route("as", "GET", "/as/webhook-formats", webhook_formats),
    ]


def configuration(call: Call) -> Reply:
    """Settings that a client may know; wrapped booleans that are false are told, too."""
    options = call.stack.options
    rights = {
        "create_applications": options.users_create_applications,
        "create_gateways": True,
        "create_organizations": options.users_create_organizations,
    }
    admin = {"all": options.admin_rights_all}
    return Reply({"configuration": {"user_rights": rights, "admin_rights": admin}})


def webhook_formats(call: Call) -> Reply:
    """By their names in a webhook, what they are called."""
    if call.authorization is None:
        raise unauthenticated()
    return Reply({"formats": {"json": "JSON", "protobuf": "Protocol Buffers"}})
