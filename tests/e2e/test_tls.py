"""`reconciler emulator --tls`: every address is https, and one certificate verifies all of them."""

import datetime as dt
import ipaddress
import json
import ssl
import stat
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from cryptography import x509

from reconciler.cli.local_storage import check_named_storage, find_named_storage
from reconciler.emulator.certificates import make_certificate
from tests.contract.azureml import Ml
from tests.e2e.test_local_emulator import make_project, record_of
from tests.e2e.world import run, run_emulator, spawn_emulator
from tests.storage import need_storage

pytestmark = pytest.mark.e2e


def ask(url: str, certificate: str) -> int:
    """The status of a GET that trusts one certificate alone."""
    context = ssl.create_default_context(cafile=certificate)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    try:
        with urllib.request.urlopen(url, timeout=60, context=context) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_all_addresses_are_https_and_the_files_are_removed() -> None:
    need_storage()
    with spawn_emulator("--tls") as emulator:
        certificate = Path(emulator.certificate)
        key = certificate.parent / "key.pem"
        modes = [stat.S_IMODE(one.stat().st_mode) for one in (key, certificate.parent)]
        addresses = [emulator.url, emulator.blob]
        statuses = [
            ask(f"{emulator.url}/emulator", emulator.certificate),
            ask(f"{emulator.url.replace('127.0.0.1', 'localhost')}/emulator", emulator.certificate),
            ask(emulator.blob, emulator.certificate),
        ]
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            urllib.request.urlopen(f"{emulator.url}/emulator", timeout=60)

    assert modes == [0o600, 0o700]
    assert all(one.startswith("https://127.0.0.1:") for one in addresses)
    assert statuses == [200, 200, 400]
    assert not certificate.parent.exists()


def test_the_addresses_in_replies_are_https(monkeypatch: pytest.MonkeyPatch) -> None:
    with run_emulator("--tls", "--no-blob", "--operation-seconds=0") as emulator:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", emulator.certificate)
        ml = Ml(emulator.url)
        created = ml.call("PUT", ml.path(), ml.describe())
        shown = ml.get()
        ml.session.close()

    for link in (
        created.headers["Azure-AsyncOperation"],
        created.headers["Location"],
        shown["properties"]["scoringUri"],
        shown["properties"]["properties"]["AzureAsyncOperationUri"],
    ):
        assert link.startswith(f"{emulator.url}/"), link


def test_a_command_of_the_project_trusts_the_named_certificate(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "project")
    with spawn_emulator("--tls", "--no-blob", folder=folder) as emulator:
        record = json.loads(record_of(folder).read_bytes())
        blind = run(folder, "export", "--all")
        trusting = run(folder, "export", "--all", env={"REQUESTS_CA_BUNDLE": emulator.certificate})
        other = make_other(tmp_path)
        wrong = run(folder, "export", "--all", env={"REQUESTS_CA_BUNDLE": other})

    assert record["certificate"] == emulator.certificate
    assert blind.code == 1
    assert "its certificate is not trusted" in blind.err
    assert f"export REQUESTS_CA_BUNDLE={emulator.certificate}" in blind.err
    assert trusting.code == 0, trusting.err
    assert "Warning" not in trusting.err
    assert (wrong.code, wrong.err) == (1, blind.err)


def make_other(folder: Path) -> str:
    """The file of a certificate that signed nothing here."""
    with make_certificate("127.0.0.1") as made:
        file = folder / "other.pem"
        file.write_bytes(made.path.read_bytes())
    return str(file)


def test_what_the_certificate_says() -> None:
    with make_certificate("192.0.2.7") as made:
        certificate = x509.load_pem_x509_certificate(made.path.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    now = dt.datetime.now(dt.UTC)

    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    addresses = names.get_values_for_type(x509.IPAddress)
    assert addresses == [ipaddress.ip_address(one) for one in ("127.0.0.1", "::1", "192.0.2.7")]
    assert basic.ca
    assert certificate.not_valid_before_utc < now < certificate.not_valid_after_utc
    assert not made.path.exists()


def test_another_scheme_is_another_storage(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("uri: http://127.0.0.1:10000/devstoreaccount1/m/a.ilearner\n")
    (tmp_path / "b.yaml").write_text("uri: https://127.0.0.1:10000/devstoreaccount1/m/a.ilearner\n")
    named = find_named_storage(tmp_path, ["a.yaml", "b.yaml"])
    (finding,) = check_named_storage(named, "https://127.0.0.1:10000")

    assert finding.place is not None
    assert finding.place.file == "a.yaml"
    assert "s|http://127.0.0.1:10000/|https://127.0.0.1:10000/|" in (finding.next_step or "")
