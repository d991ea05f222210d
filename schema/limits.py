"""Names and sizes that the field has agreed on (AWS: API reference patterns, "AWS IoT Device Management quotas")."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from schema.errors import Code, Rejected, shorten

THING_NAME: Final = re.compile(r"[a-zA-Z0-9:_-]{1,128}")
GROUP_NAME: Final = THING_NAME
OPERATOR_NAME: Final = THING_NAME
JOB_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
TENANT_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
UUID: Final = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
REASON_CODE: Final = re.compile(r"[A-Z0-9_]{1,128}")
DETAIL_KEY: Final = re.compile(r"[a-zA-Z0-9:_-]{1,128}")

# AWS: thing and group attributes; fifty with a type, three without: here always fifty.
ATTRIBUTE_NAME: Final = re.compile(r"[a-zA-Z0-9_.,@/:#-]{1,128}")
ATTRIBUTE_VALUE: Final = re.compile(r"[a-zA-Z0-9_.,@/:#=\[\]-]{0,800}")
ATTRIBUTES: Final = 50
GROUP_DEPTH: Final = 7
MEMBERS_PER_COMMAND: Final = 1000

DETAIL_PAIRS: Final = 10
DETAIL_VALUE_CHARS: Final = 1024
DOCUMENT_BYTES: Final = 32768
TEXT_CHARS: Final = 2028  # description and comment
TARGETS_PER_JOB: Final = 100
DOCUMENT_TYPE_CHARS: Final = 128
EXPIRY_HOURS: Final = 8760  # a year
COMMAND_BYTES: Final = (
    262144  # an operator's payload: a full document, all its characters escaped, fits
)
STEP_MINUTES: Final = 10080  # seven days; also the in-progress timeout's limit
PENDING_LISTED: Final = 10  # entries in each pending list and in notify, without scheduling
SCHEDULE_LEAD_MINUTES: Final = (
    30  # AWS: startTime and endTime ahead of now, endTime after startTime
)
START_DAYS: Final = 366  # AWS: a year ahead, counted with its leap day
END_DAYS: Final = 731  # AWS: two years from creation
WINDOW_MINUTES: Final = 1430  # 23 h 50 min
WINDOWS_PER_JOB: Final = 10
SOURCE_URL_CHARS: Final = 1350  # AWS: documentSource
TEMPLATES: Final = 1000  # job templates of a tenant; AWS allows 100 unless asked for more
PLACEHOLDERS: Final = 50  # in a job document; AWS allowed 10
PARAMETER_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,128}")
PARAMETER_CHARS: Final = 30720
LOCALS_IN_URL: Final = 2  # AWS: of each kind, in a presigned URL's key
QUERY_CHARS: Final = 2000  # of a dynamic group; AWS allows 1000
QUERY_TERMS: Final = 50  # AWS allows 12
QUERY_DEPTH: Final = 16  # parentheses and NOTs inside each other
DYNAMIC_GROUPS: Final = 200  # AWS: 100; each change of a thing asks each query anew
TOKEN_DAYS: Final = 3650  # until an operator's token for HTTP expires
TOKENS_PER_OPERATOR: Final = 50
AUDIT_SUBJECT_CHARS: Final = 256
TOKEN_BYTES: Final = 1024  # clientToken; AWS documents no limit for jobs, 64 for shadows

# How a job rolls out (AWS: JobExecutionsRolloutConfig, AbortConfig, JobExecutionsRetryConfig).
THINGS_COUNTED: Final = 2**31 - 1  # where AWS names only a least
BASE_RATE: Final = 1000
INCREMENT_FACTOR: Final = (1.1, 5.0)
ABORT_CRITERIA: Final = 100  # AWS names no limit
RETRY_CRITERIA: Final = 2
RETRIES: Final = 10  # for each kind of failure, and for each thing altogether
# Ours, beyond AWS.
STAGES: Final = 100
SOAK_MINUTES: Final = STEP_MINUTES
APPROVALS: Final = 10


def is_plain_text(text: str) -> bool:
    r"""Whether a text has no character of Unicode's category C (AWS pattern `[^\p{C}]+`).

    That is: control, format, surrogate, private use and unassigned characters.
    """
    if text.isascii():
        return text.isprintable()
    return not any(unicodedata.category(character)[0] == "C" for character in text)


def check_name(field: str, value: object, pattern: re.Pattern[str]) -> str:
    """The value, when it is a string that fits the pattern. Raises Rejected naming the field otherwise."""
    if isinstance(value, str) and pattern.fullmatch(value) is not None:
        return value
    raise Rejected(
        Code.INVALID_REQUEST, f"{field}: {shorten(value)} does not match {pattern.pattern}"
    )


TAGS: Final = 50

# Our own.
PROGRESS_THINGS: Final = 10_000  # of a job, in one page of jobs/progress
PROGRESS_BUCKET_SECONDS: Final = 86_400
REFUSALS_KEPT: Final = 200  # of a tenant, for system/get
JOBS_COUNTED: Final = 10_000  # of each status, by jobs/counts
JOBS_SEARCHED: Final = 50_000  # looked at for one page of a filtered list
EPOCH_SECONDS: Final = 253_402_214_400  # the last moment but one day that a date may be
FAILING_SEARCHED: Final = 10_000  # jobs looked at for one page of failures/list
RETRY_SOURCES: Final = 1000  # jobs named in one failures/retry
FAILURES_LOOKED_AT: Final = 100_000  # of one page of jobs, by failures/list
FAILURE_GROUPS: Final = 200  # in one answer of failures/list, the largest
FAILURES_RETRIED: Final = 20_000  # things, by one failures/retry
REASON_CHARS: Final = 200  # of why things failed, as far as failures are told apart by it
RETRY_ID: Final = r"^[a-zA-Z0-9_-]{1,60}$"  # a job id, with room for a number behind it
RETRY_JOBS: Final = 50  # made by one failures/retry: one for each document
SEARCH_CHARS: Final = 64
PRIORITY_MOST: Final = 1000
