"""What an S3 client's errors mean: whose fault, which field of the spec, and what to do."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from botocore import exceptions as b
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from mpj_runner.contract.access import KEY, KEY_ID, TOKEN, Access
from mpj_runner.contract.errors import TransientError, UserError

Explained = UserError | TransientError


@dataclass(frozen=True)
class Place:
    """What messages say of a bucket."""

    bucket: str
    field: str
    """The field that named it, such as spec.storage.uri."""
    access: Access
    endpoint: str

    @property
    def has_secret(self) -> bool:
        """Tell whether a Secret holds the credentials."""
        return self.access.credentials_secret is not None

    @property
    def credentials(self) -> str:
        """Say where credentials come from."""
        if self.access.credentials_secret is None:
            return f"{self.access.field}.credentialsSecretRef (mpj run: the AWS environment)"
        name = self.access.credentials_secret
        return f"the Secret {name} of {self.access.field}.credentialsSecretRef"


_MISSING: Final = frozenset({"NoSuchKey", "404", "NotFound"})
_FULL: Final = frozenset(
    {
        "InsufficientStorage",
        "QuotaExceeded",
        "StorageFull",
        "XMinioAdminBucketQuotaExceeded",
        "XMinioStorageFull",
    }
)
_DENIED: Final = frozenset({"AccessDenied", "AllAccessDisabled", "AccountProblem", "403"})
_REGION: Final = frozenset(
    {
        "301",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
        "PermanentRedirect",
    }
)
_EXPIRED: Final = frozenset({"ExpiredToken", "TokenRefreshRequired"})
_ASSUMES: Final = frozenset({"AssumeRole", "AssumeRoleWithWebIdentity"})
"""Calls of the SDK to STS, which it makes for credentials within a call to S3."""
_LATER: Final = frozenset({"ExpiredTokenException", "IDPCommunicationError"})
"""Answers of STS that another pod, with a token of its own, may not get."""
_WORDS: Final = 200
"""Characters that a server's own words may have within a message."""
_DAMAGED: Final = frozenset(
    {"BadDigest", "IncompleteBody", "InvalidDigest", "XAmzContentSHA256Mismatch"}
)
_PASSING: Final = frozenset(
    {
        "ConditionalRequestConflict",
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
    }
)
_UNTRUSTED: Final = ("CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER", "doesn't match")
"""What TLS says of a server that will be no better the next time; all else may be the network."""
_PERMISSIONS: Final = {
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "DeleteObject": "s3:DeleteObject",
    "DeleteObjects": "s3:DeleteObject",
    # Without s3:ListBucket, AWS says of an object that is missing that access is denied.
    "GetObject": "s3:GetObject and s3:ListBucket",
    "HeadObject": "s3:GetObject and s3:ListBucket",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "ListObjectsV2": "s3:ListBucket",
}
"""What an operation needs; all others need s3:PutObject."""


@contextlib.contextmanager
def explained(place: Place) -> Iterator[None]:
    """Turn a client's errors into those of the contract; ``MissingError`` passes.

    Raises:
        UserError: retrying cannot help.
        TransientError: it may.
        MissingError: there is no such object.
    """
    try:
        yield
    except ClientError as error:
        if code_of(error) in _MISSING and error.operation_name in ("GetObject", "HeadObject"):
            raise MissingError from error
        raise explain(error, place) from error
    except (BotoCoreError, ResponseParserError) as error:
        raise explain(error, place) from error


class ReplacedError(TransientError):
    """Raise when an object was replaced while it was read."""


class MissingError(Exception):
    """Raise when there is no such object; never leaves this package."""


def code_of(error: ClientError) -> str:
    """Return S3's word for an error, or the HTTP status where it has none."""
    return str(error.response.get("Error", {}).get("Code", ""))


def explain(error: BotoCoreError | ClientError | ResponseParserError, place: Place) -> Explained:
    """Return the error of the contract that says what is wrong."""
    if isinstance(error, ClientError):
        return _answered(error, place)
    return _unanswered(error, place)


def _answered(error: ClientError, place: Place) -> Explained:
    """Explain what a server says no to."""
    response: Any = error.response
    code, status = code_of(error), response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    text = str(response.get("Error", {}).get("Message", "")).strip()
    f, where = place.access.field, f"{place.field}: bucket {place.bucket}"
    if error.operation_name in _ASSUMES:
        return _not_assumed(code, status, text, place)
    if code == "NoSuchBucket":
        return UserError(
            f"{where} does not exist at {place.endpoint}: create it, or correct {place.field} or "
            f"{f}.endpointURL"
        )
    if code == "InvalidBucketName":
        return UserError(f"{where}: S3 knows no such name ({text}): correct {place.field}")
    if code == "RequestTimeTooSkewed" or _out_of_time(code, text):
        return TransientError(
            f"{where}: this machine's clock and the server's differ too much (the server's: "
            f"{_date(response)}): set the node's clock (NTP)"
        )
    if code == "InvalidAccessKeyId":
        return UserError(
            f"{where}: {place.endpoint} does not know the access key: correct {KEY_ID} in "
            f"{place.credentials}, or {f}.endpointURL"
        )
    if code == "SignatureDoesNotMatch":
        return UserError(f"{where}: the signature is wrong: correct {KEY} in {place.credentials}")
    if code in _EXPIRED or code == "InvalidToken":
        # What renews a Secret may be late, and the next pod gets the renewed one.
        family = TransientError if code in _EXPIRED and place.has_secret else UserError
        return family(f"{where}: the session has expired: renew {TOKEN} in {place.credentials}")
    if code in _REGION:
        own = response.get("Error", {}).get("Region") or _header(response, "x-amz-bucket-region")
        there = f"is in region {own}" if own else f"is not in this region ({text})"
        return UserError(f"{where} {there}: set {f}.region")
    if code.startswith("KMS.") or (code in _DENIED and "kms" in text.lower()):
        return UserError(
            f"{where}: the encryption key can't be used ({text}): correct {f}.serverSideEncryption"
            ", or grant kms:GenerateDataKey and kms:Decrypt"
        )
    if code in _DENIED:
        permission = _PERMISSIONS.get(error.operation_name, "s3:PutObject")
        return UserError(
            f"{where}: access is denied: grant {permission} to the credentials of "
            f"{place.credentials}{_said(text)}"
        )
    if code in _FULL or status == 507:
        return UserError(
            f"{where} is full ({text or code}): free some space (mpj gc), raise its quota, or set "
            f"{place.field} to another one"
        )
    if code == "NotImplemented":
        return UserError(
            f"{where}: the server lacks a part of S3 that was asked for ({text}): leave out "
            f"{f}.serverSideEncryption, and set {f}.checksums to WhenRequired"
        )
    if code in _MISSING:
        return UserError(
            f"{f}.endpointURL: {place.endpoint} knows no {error.operation_name} of bucket "
            f"{place.bucket} ({code}): correct it, it must be the address of an S3 server without "
            "the bucket's name"
        )
    if code in ("PreconditionFailed", "412"):
        return ReplacedError(f"{where}: an object was replaced while it was read: try again")
    if code in _DAMAGED:
        return TransientError(f"{where}: the bytes were damaged on their way ({code}): try again")
    if code in _PASSING or status >= 500 or status == 429:
        return TransientError(
            f"{where}: {place.endpoint} answers {code or status} again and again "
            f"({error.operation_name}): look at the server, or try later"
        )
    return UserError(f"{where}: {place.endpoint} refuses {error.operation_name}: {code}: {text}")


def _not_assumed(code: str, status: int, text: str, place: Place) -> Explained:
    """Explain why STS gives no credentials."""
    where = f"{place.access.field}: no credentials for bucket {place.bucket}"
    if code in _PASSING | _LATER or status >= 500 or status == 429:
        return TransientError(f"{where}: STS answers {code or status}: try later{_said(text)}")
    return UserError(
        f"{where}: the role of the pods' service account can't be assumed ({code}): correct the "
        "role that the account is annotated with, and that role's trust policy, or name a Secret "
        f"in {place.access.field}.credentialsSecretRef{_said(text)}"
    )


def _said(text: str) -> str:
    """Return a server's own words as the end of a message: who at the start, why at the end."""
    words = " ".join(text.split())
    if len(words) > _WORDS:
        words = f"{words[: _WORDS // 2 - 3]}...{words[-_WORDS // 2 :]}"
    return f"; the server says: {words}" if words else ""


def _out_of_time(code: str, text: str) -> bool:
    return code == "RequestExpired" or (
        code == "SignatureDoesNotMatch" and ("expired" in text or "not yet current" in text)
    )


def _date(response: Any) -> str:  # noqa: ANN401 - parsed from the wire
    error = response.get("Error", {})
    return str(error.get("ServerTime") or _header(response, "date") or "unknown")


def _header(response: Any, name: str) -> str | None:  # noqa: ANN401 - parsed from the wire
    found = response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get(name)
    return None if found is None else str(found)


def _unanswered(error: BotoCoreError | ResponseParserError, place: Place) -> Explained:
    """Explain why no server of S3 was reached."""
    f, endpoint = place.access.field, place.endpoint
    words = " ".join(str(error).split())
    cause = _cause(error)
    if isinstance(error, b.SSLError) and any(word in words for word in _UNTRUSTED):
        return UserError(
            f"{f}.endpointURL: {endpoint} can't be trusted ({cause}): name the Secret with "
            f"its ca.crt in {f}.caSecretRef (mpj run: AWS_CA_BUNDLE), or write http:// if the "
            "server speaks no TLS"
        )
    if isinstance(error, b.ProxyConnectionError):
        return TransientError(f"{f}: the proxy of HTTPS_PROXY is not reached ({cause})")
    if isinstance(error, (b.NoCredentialsError, b.PartialCredentialsError)):
        return UserError(
            f"{f}.credentialsSecretRef: there are no credentials for bucket {place.bucket}: name a "
            f"Secret with {KEY_ID} and {KEY}, or a serviceAccountName with a cloud identity "
            "(mpj run: set them in the environment or in ~/.aws)"
        )
    if isinstance(error, (b.CredentialRetrievalError, b.MetadataRetrievalError)):
        return TransientError(f"{f}.credentialsSecretRef: no credentials were to be had: {words}")
    if isinstance(error, ResponseParserError):
        return UserError(
            f"{f}.endpointURL: what answers at {endpoint} is no S3 server ({words[:200]}): correct "
            "it"
        )
    if isinstance(error, (b.HTTPClientError, b.ConnectionError)):
        return TransientError(
            f"{f}.endpointURL: {endpoint} is not reached ({cause}): correct it, or see "
            "that the server is up"
        )
    if isinstance(error, b.ParamValidationError):
        return UserError(f"{place.field}: {words}: correct it")
    return UserError(f"{f}: {words}")


def _cause(error: BotoCoreError | ResponseParserError) -> str:
    """Return what lies below, without the objects' addresses that urllib3 prints before it."""
    kwargs = getattr(error, "kwargs", {})
    words = " ".join(str(kwargs.get("error") or error).split())
    return words.rpartition(">: ")[2].rpartition("(Caused by ")[2].rstrip(")")[:300]
