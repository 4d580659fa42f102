"""All drills, by name."""

from tests.drills import (
    age_out,
    clock_jump,
    cut,
    full,
    kill_service,
    log_servers,
    pause_writer,
    poison,
    store_nodes,
    storms,
    wipe_store,
)  # fmt: skip
from tests.drills.load import mail, order
from tests.drills.load.crowd import Size
from tests.drills.perform import Drill

DRILLS = (
    Drill("kill-service", "SIGKILL at random moments and at each step", "another goes on at once", kill_service.faults),
    Drill("pause-writer", "SIGSTOP past every timeout, then SIGCONT", "the fence refuses it", pause_writer.faults),
    Drill("kill-nats-leader", "SIGKILL of the log's leader", "writes go on by themselves", log_servers.kill_leader),
    Drill(
        "kill-cql-node", "one of three store nodes killed, then two", "one: no write refused; two: refused clearly",
        store_nodes.kill_nodes, needs_nodes=True,
    ),
    Drill("full-disk", "the log at its size limit", "refused clearly, back by itself", full.full_log),
    Drill(
        "clock-jump", "clocks an hour off, either way", "no id, timer or token rule breaks silently", clock_jump.faults,
        wrong_clocks=True,
    ),
    Drill("poison", "events no consumer can take", "dead letters; the rest flows; replayed", poison.faults, in_order=False),
    Drill(
        "storms", "a gateway and a mail server that leave outcomes unknown", "settled, never doubled", storms.faults,
        size=Size(groups=1, speakers=1, conversing=0, watchers=1, buyers=4, writers=3, methods=order.STORMY, readers=mail.STORMY),
        rests=150.0,
    ),
    Drill("wipe-log", "everything the log servers keep deleted", "recover-log, and nothing lost", log_servers.wipe),
    Drill("wipe-store", "everything the store holds deleted", "refused until restored; in part is a gap", wipe_store.faults),
    Drill("cut", "a process cut off from the log or the store", "no wrong answer, back by itself", cut.faults, linked=True),
    Drill("slow-store", "half a second a write", "slower, and otherwise the same", full.slow_store, linked=True),
    Drill(
        "restart-nats-all", "all log servers killed; then their unsynced end lost", "a log shorter than the store is refused",
        log_servers.restart_all, sync="always",
    ),
    Drill(
        "age-out", "a log that keeps entries for seconds", "nothing leaves it before it is stored", age_out.faults,
        settings={"all": {"LOG_MAX_AGE": "8"}},
    ),
)  # fmt: skip
BY_NAME = {drill.name: drill for drill in DRILLS}
