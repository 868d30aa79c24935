"""Flow networks: anything that obeys :class:`unrollflow.contracts.FlowNetwork`."""

from unrollflow.models.correlation import cost_volume
from unrollflow.models.pwclite import PWCLite

__all__ = ["PWCLite", "cost_volume"]
