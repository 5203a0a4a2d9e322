"""The colours of states, by the theme's names for colours."""

from orders.states import ExecutionStatus, Status

STATUS_BADGES = {
    Status.PENDING: "info",
    Status.COMPLETED: "success",
    Status.FAILED: "warning",
    Status.ERROR: "danger",
}
EXECUTION_BADGES = {
    ExecutionStatus.NEW: "info",
    ExecutionStatus.PARTIALLY_FILLED: "info",
    ExecutionStatus.PENDING_CANCEL: "warning",
    ExecutionStatus.FILLED: "success",
    ExecutionStatus.REJECTED: "danger",
}
