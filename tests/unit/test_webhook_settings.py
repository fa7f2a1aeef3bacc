"""`spec.watch` of the project file: whom `watch` reports to, by reference."""

from pathlib import Path

import pytest

from reconciler.manifests import Loaded, load
from reconciler.model import SecretReference, Webhook

HEAD = "apiVersion: reconciler/v1\nkind: "
URL = "https://hooks.slack.com/services/T0000/B0000/planted"


def read(folder: Path, watch: str, of_environment: str = "") -> Loaded:
    text = f"{HEAD}Project\nmetadata: {{name: p}}\nspec:\n  watch: {watch}\n"
    (folder / "reconciler.yaml").write_text(text)
    if of_environment:
        (folder / "environments").mkdir()
        text = f"{HEAD}Environment\nmetadata: {{name: prod}}\nspec:\n  watch: {of_environment}\n"
        (folder / "environments" / "prod.yaml").write_text(text)
    return load(folder, None, [], {}, "prod" if of_environment else "")


def said(loaded: Loaded) -> list[str]:
    return [f"{one.place}: {one.message} {one.next_step}" for one in loaded.findings if one.place]


def test_webhooks_are_references_with_a_format(tmp_path: Path) -> None:
    loaded = read(
        tmp_path,
        "{webhooks: [{url: {env: HOOK}}, {url: {file: secrets/slack}, format: slack}],"
        " reportUrl: 'https://drift.example.org/report'}",
    )
    assert said(loaded) == []
    assert loaded.project is not None
    assert loaded.project.webhooks == (
        Webhook(SecretReference(env="HOOK"), "generic"),
        Webhook(SecretReference(file="secrets/slack"), "slack"),
    )
    assert loaded.project.report_url == "https://drift.example.org/report"


def test_an_environment_lays_its_own_over_those_of_the_project(tmp_path: Path) -> None:
    loaded = read(
        tmp_path,
        "{webhooks: [{url: {env: HOOK}}], reportUrl: 'https://a.example.org/report'}",
        "{webhooks: [{url: {env: PROD_HOOK}, format: slack}]}",
    )
    assert said(loaded) == []
    assert loaded.project is not None
    assert loaded.project.webhooks == (Webhook(SecretReference(env="PROD_HOOK"), "slack"),)
    assert loaded.project.report_url == "https://a.example.org/report"


def test_an_environment_can_have_no_webhook(tmp_path: Path) -> None:
    loaded = read(tmp_path, "{webhooks: [{url: {env: HOOK}}]}", "{webhooks: []}")
    assert loaded.project is not None
    assert loaded.project.webhooks == ()


@pytest.mark.parametrize(
    "watch",
    [
        f"{{webhooks: [{{url: '{URL}'}}]}}",
        f"{{webhooks: ['{URL}']}}",
        f"{{webhooks: '{URL}'}}",
        f"{{webhooks: [{{url: {{env: '{URL}'}}}}]}}",
        f"{{webhooks: [{{url: {{value: '{URL}'}}}}]}}",
        f"{{webhooks: [{{env: '{URL}'}}]}}",
    ],
)
def test_an_address_that_is_written_out_is_refused_and_not_repeated(
    tmp_path: Path, watch: str
) -> None:
    loaded = read(tmp_path, watch)
    assert loaded.project is None
    assert loaded.findings
    assert "planted" not in repr(loaded.findings)


@pytest.mark.parametrize(
    "watch",
    [
        "{webhooks: [{}]}",
        "{webhooks: [{url: {}}]}",
        "{webhooks: [{url: {env: A, file: b}}]}",
        "{webhooks: [{url: {env: A}, format: teams}]}",
        "{webhooks: [{url: {env: A}}, {url: {env: A}}]}",
        "{webhook: []}",
        "{reportUrl: 'ftp://a/b'}",
        "{reportUrl: 'https://user:planted@a/b'}",
        "[]",
    ],
)
def test_each_other_mistake_has_its_place(tmp_path: Path, watch: str) -> None:
    loaded = read(tmp_path, watch)
    assert loaded.project is None
    assert said(loaded)
    assert all(line.startswith("reconciler.yaml:5:") for line in said(loaded)), said(loaded)
