"""Many independent items over the processes of a machine, or over a cluster: nothing is lost, twice or half done."""

from zero123.jobs.folder import JobFolder, differences, staging
from zero123.jobs.shift import Outcome, run
from zero123.jobs.workers import Halt, Workers

__all__ = ["Halt", "JobFolder", "Outcome", "Workers", "differences", "run", "staging"]
