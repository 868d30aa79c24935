"""Flow networks: anything that obeys :class:`unrollflow.contracts.FlowNetwork`."""

from unrollflow.models.correlation import cost_volume
from unrollflow.models.pwclite import PWCLite
from unrollflow.models.raft import RAFT

__all__ = ["RAFT", "PWCLite", "cost_volume"]
