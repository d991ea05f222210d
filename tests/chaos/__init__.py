"""The survival suite: real processes, real servers, a load that keeps books, faults on a schedule, and an audit."""
