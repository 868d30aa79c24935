"""Flow networks: anything that obeys :class:`unrollflow.contracts.FlowNetwork`."""

from unrollflow.models.correlation import cost_volume
from unrollflow.models.pwclite import PWCLite
from unrollflow.models.raft import RAFT
from unrollflow.models.weights import ImportReport, import_weights

__all__ = ["RAFT", "ImportReport", "PWCLite", "cost_volume", "import_weights"]
