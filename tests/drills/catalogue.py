"""All drills, by name."""

from tests.drills import kill_service, pause_writer
from tests.drills.perform import Drill

DRILLS = (
    Drill("kill-service", kill_service.__doc__ or "", "another process goes on at once", kill_service.faults),
    Drill("pause-writer", pause_writer.__doc__ or "", "the fence refuses who slept", pause_writer.faults),
)
BY_NAME = {drill.name: drill for drill in DRILLS}
