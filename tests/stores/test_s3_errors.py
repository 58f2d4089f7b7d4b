"""What goes wrong with buckets, in words that name the field and the fix."""

import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from binaries import needed
from faulty import Answer, proxy, times
from s3server import ACCESS_KEY, SECRET_KEY, free_port, places, s3_server

from mpj_runner.contract.access import KEY, KEY_ID, TOKEN, Access
from mpj_runner.contract.errors import TransientError, UserError
from mpj_runner.stores.open import Places

CREDENTIALS = "creds"


@pytest.fixture
def read(server, bucket, tmp_path):
    """Return a function that reads and writes once; arguments are fields of the access.

    Like a step, it writes over what is there and of no use.
    """

    def run(uri: str = "", *, signs=(ACCESS_KEY, SECRET_KEY), **fields) -> None:
        access = Access.model_validate(
            {"field": "spec.storage", "endpoint_url": server.endpoint,
             "credentials_secret": CREDENTIALS, **fields}
        )  # fmt: skip
        store = places(access, *signs).store(uri or f"s3://{bucket}/p", access)
        store.read("k")
        if store.put_new("k", b"1") != b"1":
            (tmp_path / "k").write_bytes(b"1")
            store.put("k", tmp_path / "k")

    return run


def test_no_bucket(read, server):
    with pytest.raises(UserError) as told:
        read("s3://nobody-has-this")
    assert str(told.value) == (
        f"spec.storage.uri: bucket nobody-has-this does not exist at {server.endpoint}: create it, "
        "or correct spec.storage.uri or spec.storage.endpointURL"
    )


def test_an_unknown_key(read, server):
    with pytest.raises(UserError, match="does not know the access key: correct AWS_ACCESS_KEY_ID "
                       r"in the Secret creds of spec\.storage\.credentialsSecretRef"):  # fmt: skip
        read(signs=("nobody", "x"))


def test_a_wrong_secret(read):
    with pytest.raises(UserError, match="the signature is wrong: correct AWS_SECRET_ACCESS_KEY in "
                       "the Secret creds"):  # fmt: skip
        read(signs=(ACCESS_KEY, "wrong"))


def test_an_account_without_rights(read, server):
    command = [str(needed("versitygw")), "admin", "--access", ACCESS_KEY, "--secret", SECRET_KEY]
    command += ["--endpoint-url", server.endpoint, "create-user"]
    command += ["--access", "guest", "--secret", "guest-secret", "--role", "user"]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(UserError, match=r"spec\.storage\.uri: bucket .*: access is denied: grant "
                       "s3:GetObject and s3:ListBucket to the credentials of the Secret creds of"
                       r".*; the server says: Access Denied\."):  # fmt: skip
        read(signs=("guest", "guest-secret"))


def test_half_a_secret(server, bucket):
    access = Access(
        field="spec.model", endpoint_url=server.endpoint, credentials_secret=CREDENTIALS
    )
    half = Places({access.variable(KEY_ID): "x"})
    with pytest.raises(UserError, match=r"spec\.model\.credentialsSecretRef: the Secret creds has "
                       "no AWS_SECRET_ACCESS_KEY: both"):  # fmt: skip
        half.source(f"s3://{bucket}/k", "spec.model.uri", access)


def test_no_credentials_at_all(server, bucket):
    access = Access(field="spec.storage", endpoint_url=server.endpoint)
    with pytest.raises(UserError, match=r"spec\.storage\.credentialsSecretRef: there are no "
                       "credentials .*name a Secret with AWS_ACCESS_KEY_ID"):  # fmt: skip
        Places().store(f"s3://{bucket}/p", access).read("k")


@pytest.mark.parametrize("endpoint", ["http://no-such-host.invalid", "http://127.0.0.1:{port}"])
def test_nobody_at_the_endpoint(read, endpoint):
    endpoint = endpoint.format(port=free_port())
    with pytest.raises(TransientError, match=r"spec\.storage\.endpointURL: http://.* is not "
                       r"reached \(.+\): correct it, or see that the server is up"):  # fmt: skip
        read(endpoint_url=endpoint)


def test_tls_where_there_is_none(read, server):
    with pytest.raises(
        UserError, match=r"endpointURL: https://.* can't be trusted .*write http://"
    ):
        read(endpoint_url=server.endpoint.replace("http", "https"))


@pytest.mark.parametrize("url", ["http://", "http://a b", "nonsense"])
def test_an_endpoint_that_is_no_url(read, url):
    with pytest.raises(UserError, match=r"spec\.storage"):
        read(endpoint_url=url)


def test_a_server_that_is_not_s3(read):
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>welcome")

        def do_PUT(self) -> None:
            self.send_response(405)
            self.end_headers()
            self.wfile.write(b"<html>no</html>")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as page:
        thread = threading.Thread(target=page.serve_forever, args=(0.02,))
        thread.start()
        try:
            with pytest.raises(UserError, match=r"spec\.storage"):
                read(endpoint_url=f"http://127.0.0.1:{page.server_address[1]}")
        finally:
            page.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("answer", "family", "words"),
    [
        pytest.param(Answer(403, "RequestTimeTooSkewed", headers=(("Date", "Tue, 1 Jan"),)),
                     TransientError, r"clock and the server's differ too much \(the server's: .*"
                     r"set the node's clock \(NTP\)", id="clock skew"),
        pytest.param(Answer(403, "SignatureDoesNotMatch", "Signature expired: 2026"),
                     TransientError, "clock and the server's differ", id="clock skew, old words"),
        pytest.param(Answer(507, "XMinioStorageFull", "Storage backend has reached its minimum"),
                     UserError, r"is full \(Storage .*free some space \(mpj gc\), raise its quota, "
                     r"or set spec\.storage\.uri to another", id="full"),
        pytest.param(Answer(403, "QuotaExceeded", "quota"), UserError, "is full", id="quota"),
        pytest.param(Answer(400, "ExpiredToken", "x"), TransientError,
                     "the session has expired: renew AWS_SESSION_TOKEN in the Secret creds",
                     id="session over, the next pod has the renewed Secret"),
        pytest.param(Answer(400, "TokenRefreshRequired", "x"), TransientError,
                     "the session has expired", id="session to be renewed"),
        pytest.param(Answer(400, "InvalidToken", "x"), UserError, "the session has expired",
                     id="no session's token"),
        pytest.param(Answer(403, "AccessDenied", f"User: me {'x' * 300} because of a Deny"),
                     UserError, r"grant s3:PutObject to the credentials of the Secret creds of "
                     r"spec\.storage\.credentialsSecretRef; the server says: User: me x+\.\.\.x+ "
                     "because of a Deny$", id="denied, with the server's own words"),
        pytest.param(Answer(403, "AccessDenied", "User is not authorized to perform: "
                            "kms:GenerateDataKey"), UserError,
                     r"encryption key can't be used .*correct spec\.storage\.serverSideEncryption",
                     id="key of KMS denied"),
        pytest.param(Answer(503, "SlowDown"), TransientError, "answers SlowDown again and again",
                     id="too busy"),
        pytest.param(Answer(502, text="<html>Bad Gateway</html>"), TransientError,
                     "answers 502 again and again", id="gateway"),
        pytest.param(Answer(400, "IllegalLocationConstraintException", "wrong"), UserError,
                     r"is not in this region \(wrong\): set spec\.storage\.region", id="region"),
        pytest.param(Answer(501, "NotImplemented", "encryption"), UserError,
                     r"lacks a part of S3 .*leave out spec\.storage\.serverSideEncryption",
                     id="not implemented"),
        pytest.param(Answer(400, "Strange", "very"), UserError,
                     "refuses PutObject: Strange: very", id="anything else"),
    ],
)  # fmt: skip
def test_what_a_server_says_no_with(server, read, answer, family, words):
    with proxy(server.port) as faults:
        faults.rule = times(99, answer, lambda s: s.method == "PUT")
        with pytest.raises(family, match=r"spec\.storage\.uri: bucket ") as told:
            read(endpoint_url=faults.endpoint)
    told.match(words)


@pytest.mark.parametrize(
    ("status", "code", "family", "words"),
    [
        pytest.param(403, "AccessDenied", UserError, r"^spec\.storage: no credentials for bucket "
                     r".*: the role of the pods' service account can't be assumed \(AccessDenied\)"
                     r": correct the role .*trust policy, or name a Secret in spec\.storage\."
                     "credentialsSecretRef; the server says: Not for you$", id="trust policy"),
        pytest.param(400, "ValidationError", UserError, r"can't be assumed \(Val", id="no role"),
        pytest.param(400, "ExpiredTokenException", TransientError,
                     "STS answers ExpiredTokenException: try later", id="old token"),
        pytest.param(503, "ServiceUnavailable", TransientError, "STS answers Serv", id="away"),
    ],
)  # fmt: skip
def test_a_role_that_cannot_be_assumed_is_no_missing_permission(
    server, bucket, tmp_path, monkeypatch, status, code, family, words
):
    """The SDK asks STS within the first call to S3."""
    (tmp_path / "token").write_text("of the service account")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/detectors")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    told = f"<Error><Code>{code}</Code><Message>Not for you</Message></Error>"
    with proxy(server.port) as sts:
        sts.rule = times(9, Answer(status, text=f"<ErrorResponse>{told}</ErrorResponse>"))
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.endpoint)
        access = Access(field="spec.storage", endpoint_url=server.endpoint)
        with pytest.raises(family, match=words):
            Places().store(f"s3://{bucket}/p", access).read("k")


def test_a_wrong_region_is_corrected_by_what_the_server_says(read):
    read(region="eu-central-1")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Iterator[tuple[Path, Path]]:
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-keyout", str(key), "-out", str(cert), "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)
    return key, cert


def test_a_ca_of_ones_own(certificate, tmp_path_factory):
    key, cert = certificate
    options = ("--cert", str(cert), "--key", str(key))
    with s3_server(tmp_path_factory.mktemp("s3"), *options, ca=cert) as server:
        uri = f"s3://{server.bucket('secure')}/p"
        plain = Access(field="spec.storage", endpoint_url=server.endpoint)
        with pytest.raises(UserError, match=r"can't be trusted .*name the Secret with its ca\.crt "
                           r"in spec\.storage\.caSecretRef"):  # fmt: skip
            places(plain).store(uri, plain).read("k")
        access = plain.model_copy(update={"ca_secret": "ca"})
        secrets = {
            **places(access).secrets,
            access.variable("ca.crt"): cert.read_text(),
            access.variable(TOKEN): "",
        }
        store = Places(secrets).store(uri, access)
        assert store.put_new("k", b"1") == b"1"
        with pytest.raises(UserError, match=r"caSecretRef: ca\.crt of the Secret ca holds no cert"):
            Places({**secrets, access.variable("ca.crt"): "junk"}).store(uri, access)
    assert access.variable(KEY) == "MPJ_STORAGE_AWS_SECRET_ACCESS_KEY"
