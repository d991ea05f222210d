"""Which devices may be claimed on a join server: asked once for a JoinEUI (reference/the-things-stack.md 2.8)."""

from __future__ import annotations

from dataclasses import dataclass, field

from broker.things_stack.client import ThingsStack


@dataclass(slots=True)
class Claims:
    """What the server says of JoinEUIs, remembered."""

    stack: ThingsStack
    _claimable: dict[str, bool] = field(default_factory=dict)

    async def are_taken(self, join_eui: str | None, host: str) -> bool:
        """Whether devices of a JoinEUI may be claimed; so it is when the server does not say."""
        if join_eui is None:
            return False
        if join_eui not in self._claimable:
            outcome = await self.stack.devices.claiming(host, join_eui)
            no_server = outcome.status in (404, 501) and not outcome.error.name
            says_no = outcome.ok and not outcome.body.get("supports_claiming")
            self._claimable[join_eui] = not (no_server or says_no)
        return self._claimable[join_eui]
