"""What services and commands import: the kind `service`, records, the machine's file, and the supervisor."""

from esper_leyline_proto.telemetry import HealthStatus
from esper_weatherlight.compose import compose_file
from esper_weatherlight.http import HttpServer
from esper_weatherlight.kinds import ServiceSpec
from esper_weatherlight.machine import Http, Machine, ServiceTable, machine_file, read_machine
from esper_weatherlight.service import (
    BusService,
    Ending,
    Health,
    Launch,
    Place,
    ProcessService,
    Service,
    ask_to_end,
    esper_command,
)
from esper_weatherlight.shown import NOTHING, MachineView, machine_view
from esper_weatherlight.state import (
    SupervisorRecord,
    ask_again,
    find_supervisor,
    last_log_lines,
    left_running,
    logged_services,
    stop_supervisor,
    supervisor_status,
)
from esper_weatherlight.supervising import supervise
from esper_weatherlight.systemd import unit_file

__all__ = [
    "NOTHING",
    "BusService",
    "Ending",
    "Health",
    "HealthStatus",
    "Http",
    "HttpServer",
    "Launch",
    "Machine",
    "MachineView",
    "Place",
    "ProcessService",
    "Service",
    "ServiceSpec",
    "ServiceTable",
    "SupervisorRecord",
    "ask_again",
    "ask_to_end",
    "compose_file",
    "esper_command",
    "find_supervisor",
    "last_log_lines",
    "left_running",
    "logged_services",
    "machine_file",
    "machine_view",
    "read_machine",
    "stop_supervisor",
    "supervise",
    "supervisor_status",
    "unit_file",
]
