"""`python -m tests.sabotage [NUMBER…]` breaks one line at a time, and sees a test go red for it.

The table of tests/README.md names the same sabotages; a unit test holds the two together, and each
line to the code. Nothing in the checkout is changed: each sabotage is done to a copy.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
_COPIED = ("reconciler", "schemas", "manifests", "tests", "pyproject.toml", "README.md")


@dataclass(frozen=True)
class Sabotage:
    """`old` stands once in `file` and becomes `new`; `test` must fail for it, as `why` says."""

    why: str
    file: str
    old: str
    new: str
    test: str


SABOTAGES = (
    Sabotage(
        "an answer that proves nothing counts as absence",
        "reconciler/kinds/web_service/provider.py",
        "if error.status == 404 and error.code in absent:",
        "if error.status >= 404:",
        "tests/e2e/test_bad_input.py::test_a_service_that_answers_badly",
    ),
    Sabotage(
        "a write that may have been done is sent again",
        "reconciler/transport/client.py",
        "else _FailedAttempt(_perhaps(failed), None)",
        "else _FailedAttempt(failed, self._pause(lost, reply))",
        "tests/wire/test_transport.py::test_a_write_that_may_have_been_done_is_not_sent_again",
    ),
    Sabotage(
        "the token follows to another origin",
        "reconciler/transport/client.py",
        "if not own and origin_of(target) != origin_of(self.base_url):",
        "if False:",
        "tests/wire/test_transport.py::test_a_page_elsewhere_is_not_asked_for",
    ),
    Sabotage(
        "secrets stay in what the service says",
        "reconciler/secrets/redaction.py",
        "return _replace(data, parts, HIDDEN) if parts else text",
        "return text",
        "tests/unit/test_redaction.py",
    ),
    Sabotage(
        "what moves a terminal is printed as it is",
        "reconciler/render/words/escape.py",
        "if text.isprintable():",
        "if True:",
        "tests/unit/test_render.py",
    ),
    Sabotage(
        "a line of the ledger need not follow the line before it",
        "reconciler/ledgers/chain.py",
        "if chain_head and not begins:",
        "if False:",
        "tests/contract/test_ledger_file.py",
    ),
    Sabotage(
        "a process that has lost the lock still writes",
        "reconciler/ledgers/chain.py",
        "if 0 < fence < highest:",
        "if False:",
        "tests/contract/test_ledger_lock.py::test_whoever_is_unlocked_by_force_can_write_no_more",
    ),
    Sabotage(
        "a lock is never free, though its holder is dead",
        "reconciler/ledgers/file_lock.py",
        "if is_lock_owner_dead(lock_owner, found.machine):",
        "if False:",
        "tests/contract/test_ledger_lock.py::test_the_lock_of_a_process_that_was_killed_is_free_at_once",
    ),
    Sabotage(
        "a saved plan may be changed by hand",
        "reconciler/plans/plan_file.py",
        'if f"sha256:{digest}" != body["plan_digest"]:',
        "if False:",
        "tests/unit/test_plan_document.py",
    ),
    Sabotage(
        "one more may be destroyed than the guard says",
        "reconciler/plans/guards.py",
        "if deletes > limits.max_deletes:",
        "if deletes > limits.max_deletes + 1:",
        "tests/test_cases.py::test_case[prune-refused]",
    ),
    Sabotage(
        "a change that cannot be undone needs no leave",
        "reconciler/plans/guards.py",
        "if is_final(change):",
        "if False:",
        "tests/test_cases.py::test_case[read-only-refused]",
    ),
    Sabotage(
        "a delete is called done while the resource is there",
        "reconciler/plans/evidence.py",
        'return _done("it is gone") if live is ABSENT else _not_done("it is still there")',
        'return _done("it is gone")',
        "tests/unit/test_apply.py",
    ),
    Sabotage(
        "a process that loses the lock during a wait still sends",
        "reconciler/transport/rate_limit.py",
        "lease = None if method in _READS else self._lease",
        "lease = None",
        "tests/wire/test_overtaken.py",
    ),
    Sabotage(
        "the last line of the ledger may be changed by hand",
        "reconciler/ledgers/chain.py",
        "if version > _WITHOUT_DIGEST and not _is_sealed(line):",
        "if False:",
        "tests/contract/test_ledger_file.py::test_a_last_line_that_was_changed_is_named",
    ),
    Sabotage(
        "the last lines of the ledger may be cut off",
        "reconciler/ledgers/chain.py",
        "if chain_head.sequence < remembered.sequence:",
        "if False:",
        "tests/contract/test_ledger_end.py::test_a_run_that_loses_lines_does_not_forget_them",
    ),
    Sabotage(
        "an approval of other changes counts",
        "reconciler/plans/approvals.py",
        "if statement.changes_digest != wanted.changes_digest:",
        "if False:",
        "tests/unit/test_approvals.py::test_an_approval_that_does_not_count_says_why",
    ),
    Sabotage(
        "a signature that was made for another program is an approval",
        "reconciler/plans/approvals.py",
        "if signature.namespace != NAMESPACE:",
        "if False:",
        "tests/unit/test_approvals.py::test_an_approval_that_does_not_count_says_why",
    ),
    Sabotage(
        "an approval never expires",
        "reconciler/plans/approvals.py",
        "if now >= parse_utc(statement.expires):",
        "if False:",
        "tests/unit/test_approvals.py::test_an_expiry_ends_an_approval_on_the_second",
    ),
    Sabotage(
        "a statement may be changed after it was signed",
        "reconciler/plans/approvals.py",
        "verify(signature, file.statement)",
        "pass",
        "tests/unit/test_approvals.py::test_no_flipped_byte_of_a_statement_is_accepted",
    ),
    Sabotage(
        "two keys of one person are two approvals",
        "reconciler/plans/approvals.py",
        "if one.principal.casefold() == approval.principal.casefold():",
        "if False:",
        "tests/unit/test_approvals.py::test_a_principal_counts_once_with_all_keys",
    ),
    Sabotage(
        "a change that no reviewer saw is applied",
        "reconciler/plans/reviewed.py",
        "return not (self.unreviewed or self.unknown)",
        "return True",
        "tests/unit/test_reviewed.py::test_nothing_reviewed_refuses_every_step",
    ),
    Sabotage(
        "a comment is believed although the status of its commit contradicts it",
        "reconciler/cli/ci/reviews.py",
        "if confirmed is False:",
        "if False:",
        "tests/e2e/test_ci_commands.py::test_an_edited_comment_gives_no_leave",
    ),
    Sabotage(
        "a status stays pending after a run that was ended",
        "reconciler/cli/ci/session.py",
        "left = {} if self.flags.dry_run else dict(self._running)",
        "left = {}",
        "tests/e2e/test_ci_commands.py::test_a_killed_plan_leaves_no_status_pending",
    ),
    Sabotage(
        "text of others is a command for the agent of a job",
        "reconciler/cli/streams.py",
        'write(_COMMAND.sub(r"\\1 \\2", text))',
        "write(text)",
        "tests/unit/test_request_comments.py::test_no_text_is_a_command_for_an_agent",
    ),
    Sabotage(
        "a name that is code gets into a workflow",
        "reconciler/gitops/workflows.py",
        "if name and not is_plain(name)",
        "if False",
        "tests/unit/test_workflows.py::test_a_name_that_could_be_code_is_refused",
    ),
    Sabotage(
        "init --ci does not report a file that has other content",
        "reconciler/cli/pipeline.py",
        "if conflicts:",
        "if False:",
        "tests/e2e/test_workflow_files.py::test_a_file_of_an_earlier_init_is_not_overwritten",
    ),
    Sabotage(
        "a comment of another account counts as our own",
        "reconciler/gitops/forges/github.py",
        "if self._is_own(one)",
        "if True",
        "tests/wire/test_forge_answers.py::test_our_own_account_on_github",
    ),
    Sabotage(
        "a comment that may have been created is created again",
        "reconciler/transport/forge.py",
        "if isinstance(error, Unavailable) and not (repeats or isinstance(error, _NotSent)):",
        "if False:",
        "tests/wire/test_forge_speaker.py::test_a_creating_call_is_not_sent_again",
    ),
    Sabotage(
        "the comment of an older run replaces that of a newer one",
        "reconciler/gitops/comments.py",
        "older = _age(newest.sticky) > _age(self._sticky)",
        "older = False",
        "tests/unit/test_sticky_comments.py::test_an_older_run_does_not_overwrite_a_newer_one_and_says_which",
    ),
    Sabotage(
        "a token of a forge is sent to another origin",
        "reconciler/transport/forge.py",
        "if not is_address(url) or origin_of(url) != origin_of(self.base_url):",
        "if False:",
        "tests/wire/test_forge_speaker.py::test_a_page_elsewhere_is_not_asked_for",
    ),
    Sabotage(
        "a policy command that fails accepts the plan",
        "reconciler/plans/policy_answers.py",
        "if code and not found:",
        "if False:",
        "tests/unit/test_policy_answers.py::test_anything_else_is_not_an_answer",
    ),
    Sabotage(
        "the author of a commit is the owner who approves it",
        "reconciler/plans/policies.py",
        "if len(own) < len(given):",
        "if given:",
        "tests/unit/test_policies.py::test_an_owner_who_is_not_the_author_must_approve",
    ),
    Sabotage(
        "a deletion is not judged once its manifest and its labels are gone",
        "reconciler/plans/policies.py",
        "return labels is None or all(",
        "return labels is not None and all(",
        "tests/unit/test_policies.py::test_labels_that_are_not_known_match",
    ),
    Sabotage(
        "a saved plan is judged by the policies of the plan",
        "reconciler/engine/applying/saved.py",
        "return judge_by_policies(runtime, request, judged, allowed, remembered)",
        "return judged",
        "tests/e2e/test_policies.py::test_a_saved_plan_is_judged_by_the_policies_of_now",
    ),
    Sabotage(
        "a plan of one environment is applied in another",
        "reconciler/cli/plan_files.py",
        "if environment != project.environment:",
        "if False:",
        "tests/e2e/test_environments.py::test_a_plan_of_one_environment_is_refused_in_another",
    ),
    Sabotage(
        "the ledger of one environment is read in another",
        "reconciler/ledgers/chain.py",
        'if name not in {"", self._environment}:',
        "if False:",
        "tests/e2e/test_environments.py::test_lines_of_another_environment_are_refused",
    ),
    Sabotage(
        "an edit for one environment changes another one",
        "reconciler/manifests/editing/environments.py",
        "elif not readers:",
        "elif True:",
        "tests/unit/test_environment_edits.py",
    ),
    Sabotage(
        "a model is promoted that the ledger does not prove",
        "reconciler/cli/applied_models.py",
        "if _normalize(state.owned.get(pointer)) == _normalize(model.uri)",
        "if True",
        "tests/e2e/test_promote.py::test_what_was_changed_since_is_refused",
    ),
    Sabotage(
        "a leader that was suspended renews the lease that was over",
        "reconciler/ledgers/leadership.py",
        "return not self._is_over() and super()._renew()",
        "return super()._renew()",
        "tests/contract/test_leadership.py::test_a_term_is_not_renewed_after_its_lease",
    ),
    Sabotage(
        "a write needs the lock of the ledger, and not the lease of the leader",
        "reconciler/ledgers/leadership.py",
        "self.term.check()",
        "pass",
        "tests/wire/test_overtaken.py::test_a_leader_that_was_suspended_for_longer_than_its_lease_sends_no_write",
    ),
    Sabotage(
        "a command does not wait for its turn after watch",
        "reconciler/ledgers/lock.py",
        "if lock_owner.yields or not error.lock_owner.yields:",
        "if True:",
        "tests/contract/test_lock_turns.py::test_a_command_that_waits_for_no_time_gets_the_lock_after_the_step",
    ),
    Sabotage(
        "a report with incomplete evidence closes alerts",
        "reconciler/gitops/sarif.py",
        "if not all(map(_is_complete, runs)):",
        "if False:",
        "tests/unit/test_sarif_files.py::test_incomplete_evidence_beside_proven_drift_is_not_uploaded",
    ),
    Sabotage(
        "--out replaces a file of somebody else",
        "reconciler/cli/drift_formats.py",
        "path.is_file() and not _is_ours(path, mark)",
        "False",
        "tests/e2e/test_drift_outputs.py::test_a_report_is_replaced_by_the_next_one_and_nothing_else_is",
    ),
    Sabotage(
        "a redirect of a webhook counts as delivered",
        "reconciler/transport/webhooks.py",
        "if 200 <= status < 300:",
        "if 200 <= status < 400:",
        "tests/wire/test_webhooks.py::test_a_redirect_is_not_followed",
    ),
    Sabotage(
        "another leader reports a finding to a webhook again",
        "reconciler/telemetry/webhooks.py",
        'return finding.key in channel.sent or f"{finding.key}{_identify(channel.webhook)}" in sent',
        "return finding.key in channel.sent",
        "tests/wire/test_webhooks.py::test_a_restart_or_another_leader_sends_nothing_again",
    ),
    Sabotage(
        "the name of a resource is a mention in Slack",
        "reconciler/telemetry/messages.py",
        'return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")',
        "return text",
        "tests/unit/test_webhook_messages.py::test_hostile_text_stays_text",
    ),
    Sabotage(
        "a cycle that read nothing keeps /healthz well",
        "reconciler/telemetry/health.py",
        "counts = has_read(cycle) or cycle.outcome is CycleOutcome.STANDBY",
        "counts = True",
        "tests/unit/test_health.py::test_three_intervals_without_a_read_are_too_many",
    ),
    Sabotage(
        "a web page reads the report by a name of its own",
        "reconciler/telemetry/server.py",
        'if self._local and hosts and not is_loopback(f"http://{hosts[0].decode()}/"):',
        "if False:",
        "tests/wire/test_watch_server.py::test_a_loopback_address_answers_only_names_of_this_machine",
    ),
    Sabotage(
        "a rule of .driftignore ignores incomplete evidence",
        "reconciler/plans/drift_ignore.py",
        "if finding.verdict in _NEVER:",
        "if False:",
        "tests/unit/test_drift_ignore.py::test_incomplete_evidence_is_never_ignored",
    ),
    Sabotage(
        "a rule of .driftignore ignores after its last day",
        "reconciler/plans/drift_ignore.py",
        "valid = [one for one in given if one.until >= today]",
        "valid = given",
        "tests/unit/test_drift_ignore.py::test_a_rule_that_is_over_ignores_nothing_and_is_reported",
    ),
    Sabotage(
        "a run forgets the findings of what it does not look at",
        "reconciler/plans/drift_history.py",
        "if looked_at is None:",
        "if True:",
        "tests/unit/test_drift_history.py::test_what_a_run_does_not_look_at_keeps_its_date",
    ),
    Sabotage(
        "incomplete evidence does not count with --new-only once it is known",
        "reconciler/plans/drift_baseline.py",
        "return finding.is_new or finding.verdict in _COUNTS",
        "return finding.is_new",
        "tests/unit/test_drift_baseline.py::test_incomplete_evidence_counts_although_it_is_known",
    ),
    Sabotage(
        "an apply erases drift that no report had",
        "reconciler/engine/drift_history.py",
        "runtime.drift_history.keep_overwritten(found, now)",
        "pass",
        "tests/unit/test_drift_history.py::test_the_history_has_it_before_the_first_write",
    ),
    Sabotage(
        "the drift history of a newer version is overwritten",
        "reconciler/ledgers/drift_history.py",
        'if said["drift_history"] > _VERSION:',
        "if False:",
        "tests/contract/test_drift_history.py::test_what_a_newer_version_wrote_is_neither_read_nor_overwritten",
    ),
    Sabotage(
        "a page is green although not all is known",
        "reconciler/render/drift/html.py",
        "calm = known and counted[Verdict.IN_SYNC] == counted.total() > 0",
        "calm = counted.total() > 0",
        "tests/unit/test_drift_page.py::test_only_what_is_known_and_in_sync_is_green",
    ),
    Sabotage(
        "a name ends the script of a page",
        "reconciler/render/pages/templates.py",
        'text = text.replace(sign, f"\\\\u{ord(sign):04x}")',
        "pass",
        "tests/unit/test_drift_page.py::test_nothing_from_outside_is_obeyed",
    ),
    Sabotage(
        "a command that a shell would misread can be copied",
        "reconciler/render/drift/page.py",
        "plain=_PLAIN.issuperset(text)",
        "plain=True",
        "tests/unit/test_drift_page.py::test_a_command_that_a_shell_would_misread_says_so",
    ),
    Sabotage(
        "a cycle of watch reads the files of two commits",
        "reconciler/cli/watching.py",
        "if place != resolve_path(folder):",
        "if False:",
        "tests/e2e/test_deploy.py::test_a_cycle_reads_the_files_of_one_commit",
    ),
    Sabotage(
        "a cycle that read nothing is in sync",
        "reconciler/engine/watch.py",
        "if not any(one.observed_at for one in report.statuses):",
        "if False:",
        "tests/unit/test_watch.py::test_a_cycle_that_read_nothing_is_not_in_sync",
    ),
    Sabotage(
        "a cycle is in sync although the project of now is invalid",
        "reconciler/engine/watch.py",
        "elif prepared.errors:  # what the project declares now is not known",
        "elif False:",
        "tests/unit/test_watch.py::test_with_an_invalid_project_nothing_is_in_sync_but_drift_is_drift",
    ),
    Sabotage(
        "a leader that was suspended reports what it read before",
        "reconciler/engine/watch.py",
        "if term is not None and not term.is_held():",
        "if False:",
        "tests/unit/test_watch.py::test_a_cycle_is_not_reported_that_ends_when_another_process_may_lead",
    ),
    Sabotage(
        "watch writes a value again and again that does not hold",
        "reconciler/engine/unattended.py",
        "if repeats >= MOST:",
        "if False:",
        "tests/e2e/test_watch.py::test_what_others_changed_is_put_right_three_times_and_then_left",
    ),
    Sabotage(
        "watch changes what a rule of .driftignore ignores",
        "reconciler/engine/unattended.py",
        "return (wanted & declared) - ignored.keys() - waiting.keys()",
        "return (wanted & declared) - waiting.keys()",
        "tests/e2e/test_watch.py::test_what_is_refused_or_ignored_is_left_and_the_rest_is_applied",
    ),
    Sabotage(
        "watch starts another step although a person waits",
        "reconciler/engine/unattended.py",
        "halted() or wanted.find_reason()",
        "halted()",
        "tests/e2e/test_watch.py::test_a_command_of_a_person_goes_first",
    ),
    Sabotage(
        "the answer of another deployment passes a probe",
        "reconciler/kinds/online_endpoint/probes.py",
        "if found.deployment.casefold() != deployment.casefold():",
        "if False:",
        "tests/wire/test_online_probes.py::test_what_may_pass_is_waited_for_and_then_fails",
    ),
    Sabotage(
        "the key of an endpoint is sent to any address that the endpoint names",
        "reconciler/kinds/online_endpoint/scoring.py",
        "if not fits:",
        "if False:",
        "tests/wire/test_online_probes.py::test_no_key_leaves_this_machine",
    ),
    Sabotage(
        "a router that ignores the traffic passes",
        "reconciler/plans/probes.py",
        "if least <= got <= most:",
        "if True:",
        "tests/unit/test_probes.py::test_a_router_that_ignores_the_traffic_is_found",
    ),
    Sabotage(
        "a canary with wrong numbers passes",
        "reconciler/plans/probes.py",
        "return wanted == got or abs(wanted - got) <= tolerance",
        "return True",
        "tests/unit/test_probes.py::test_the_first_difference_is_named",
    ),
    Sabotage(
        "a deployment that answers calls gets another model without leave",
        "reconciler/kinds/online_endpoint/checks.py",
        "if name in read_shares(before, TRAFFIC):",
        "if False:",
        "tests/unit/test_online_endpoint_checks.py::test_a_model_of_a_deployment_with_traffic_goes_to_the_other_colour",
    ),
    Sabotage(
        "a new deployment gets traffic before it is probed",
        "reconciler/kinds/online_endpoint/split.py",
        "requires=(*self._list_probes(probed), *measured),",
        "requires=(),",
        "tests/unit/test_online_endpoint_split.py::test_a_rollout_from_blue_to_green",
    ),
    Sabotage(
        "a deployment is deleted before the traffic has left it",
        "reconciler/kinds/online_endpoint/split.py",
        "way.shift(after, probed)",
        "pass",
        "tests/property/test_online_endpoint_laws.py::test_every_document_on_the_way_is_safe",
    ),
    Sabotage(
        "the secret of a variable stays in the document",
        "reconciler/document/schema.py",
        "if pattern.search(segment):",
        "if False:",
        "tests/unit/test_online_endpoints.py::test_a_document_holds_no_value_of_a_secret",
    ),
    Sabotage(
        "an interrupted rollout begins again at its first write",
        "reconciler/engine/applying/staged_step.py",
        "for part in self._parts[self._done :]:",
        "for part in self._parts:",
        "tests/unit/test_staged_steps.py::test_killed_at_any_call_it_goes_on_and_sends_nothing_twice",
    ),
    Sabotage(
        "a pause begins again after an interruption",
        "reconciler/engine/applying/staged_step.py",
        "return wait_s - max(0.0, elapsed)",
        "return wait_s",
        "tests/unit/test_staged_steps.py::test_a_pause_counts_from_the_last_recorded_write",
    ),
    Sabotage(
        "a saved plan decides how long a rollout pauses",
        "reconciler/engine/applying/claims.py",
        "if writes != step.writes:",
        "if False:",
        "tests/e2e/test_online_steps.py::test_no_word_of_a_plan_about_its_writes_is_believed",
    ),
)


def commit(sabotage: Sabotage, folder: Path) -> bool:
    """Whether the test fails in a copy once the line is broken, and holds before."""
    for name in _COPIED:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    if not _holds(sabotage, folder):
        raise SystemExit(f"{sabotage.test} fails before anything is broken")
    file = folder / sabotage.file
    file.write_text(file.read_text().replace(sabotage.old, sabotage.new))
    return not _holds(sabotage, folder)


def _holds(sabotage: Sabotage, folder: Path) -> bool:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n0", "--tb=no", sabotage.test]
    # The copy comes before the checkout that is installed, for the processes of tests as well.
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode not in {0, 1}:  # 1 is a test that fails; any other did not run it
        raise SystemExit(f"{sabotage.test}: pytest ended with {done.returncode}\n{done.stdout}")
    return done.returncode == 0


def main() -> int:
    """Every sabotage, or those of the numbers given; 1 where one went unseen."""
    chosen = [int(one) for one in sys.argv[1:]] or range(1, len(SABOTAGES) + 1)
    unseen = 0
    for number in chosen:
        sabotage = SABOTAGES[number - 1]
        with tempfile.TemporaryDirectory(prefix="reconciler-sabotage-") as folder:
            red = commit(sabotage, Path(folder))
        unseen += not red
        print(f"{number:2} {'red' if red else 'UNSEEN'}: {sabotage.why} ({sabotage.test})")
    return 1 if unseen else 0


if __name__ == "__main__":
    sys.exit(main())
