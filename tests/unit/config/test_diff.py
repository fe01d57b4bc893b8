"""From one configuration to another: what changes, what does not, and how it is told."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqsuper.config import effects
from sqsuper.config.diff import (
    Plan,
    TenantChange,
    UndecidableError,
    Verdict,
    change_of,
    plan,
)
from sqsuper.config.effects import Effect, keys_of
from sqsuper.config.model import (
    Admin,
    Config,
    Engine,
    Gateway,
    Limits,
    Origin,
    Rate,
    Scope,
    Settings,
    Tenant,
    Token,
)
from sqsuper.config.plan_text import facts_of, lines_of, summary_of
from tests.running import ROOT

HERE = Path("/srv/sq")


def token(text: str, **more: Any) -> Token:
    return Token(hashlib.sha256(text.encode()).digest(), **more)


def tenant(name: str = "alice", **more: Any) -> Tenant:
    fields: dict[str, Any] = {
        "name": name,
        "tokens": (token(name),),
        "data_dir": HERE / "data" / name,
        "origin": Origin(HERE / "tenants.yaml", 7),
    }
    return Tenant(**{**fields, **more})


def config(*tenants: Tenant, **more: Any) -> Config:
    fields: dict[str, Any] = {
        "file": HERE / "tenants.yaml",
        "data_root": HERE / "data",
        "run_dir": HERE / "run",
        "tenants": tenants,
    }
    return Config(**{**fields, **more})


def only(made: Plan) -> TenantChange:
    (change,) = made.tenants
    return change


class TestEveryKeyHasAnEffect:
    @pytest.mark.parametrize(
        ("cls", "table"),
        [
            (Settings, effects.SETTINGS),
            (Tenant, effects.TENANT),
            (Gateway, effects.GATEWAY),
            (Admin, effects.ADMIN),
            (Config, effects.SERVICES),
        ],
    )
    def test_and_none_that_does_not_exist(self, cls: type, table: dict[str, Any]) -> None:
        assert list(table) == list(keys_of(cls))

    def test_the_document_says_the_same(self) -> None:
        tables = {
            "": {key: embedded for key, (embedded, _) in effects.SETTINGS.items()},
            "gateway.": effects.GATEWAY,
            "admin.": effects.ADMIN,
        }
        known = {
            f"{place}{key}": effect
            for place, table in tables.items()
            for key, effect in table.items()
        }
        known |= {**effects.TENANT, **effects.SERVICES}
        text = (ROOT / "docs" / "design" / "reload.md").read_text()
        told: dict[str, set[str]] = {}
        for effect in Effect:
            (row,) = [line for line in text.splitlines() if line.startswith(f"| {effect.value} |")]
            told[effect.value] = set(re.findall(r"`([^`]+)`", row))
        for effect in (Effect.LISTEN, Effect.SERVICE, Effect.NEXT_START, Effect.RESTART):
            found = {key for key, one in known.items() if one is effect}
            assert told[effect.value] - {"command"} == found
        of_commands = {key for key, (_, one) in effects.SETTINGS.items() if one is Effect.NOTHING}
        told_of_commands = told[Effect.NOTHING.value] - {"command"}
        assert {key.partition(".")[0] for key in of_commands} == told_of_commands


class TestVerdicts:
    def test_added_and_removed(self) -> None:
        made = plan(config(tenant("alice"), tenant("bob")), config(tenant("bob"), tenant("carol")))
        assert [(c.name, c.verdict) for c in made.tenants] == [
            ("alice", Verdict.REMOVE),
            ("carol", Verdict.ADD),
        ]
        assert made.unchanged == 1

    @pytest.mark.parametrize(
        "more",
        [
            {"tokens": (token("other"),)},
            {"settings": Settings(limits=Limits(memory_hard=1, threads=3))},
            {"settings": Settings(quota_mb=5, max_phext_mb=7)},
            {"settings": Settings(rate=Rate(1.0, 2))},
            {"settings": Settings(idle_stop=None, queue=1)},
        ],
    )
    def test_tokens_limits_and_quotas_restart_nothing(self, more: dict[str, Any]) -> None:
        change = only(plan(config(tenant()), config(tenant(**more))))
        assert change.verdict is Verdict.ADJUST
        assert {key.effect for key in change.keys} <= {Effect.LIVE, Effect.NEXT_START}

    @pytest.mark.parametrize(
        "more",
        [
            {"port": 7001},
            {"data_dir": HERE / "elsewhere"},
            {"settings": Settings(environment=(("A", "b"),))},
            {"settings": Settings(user="nobody")},
            {"settings": Settings(engine=Engine.COMMAND, command=("sq",))},
        ],
    )
    def test_what_a_process_is_started_with_restarts_it(self, more: dict[str, Any]) -> None:
        assert only(plan(config(tenant()), config(tenant(**more)))).verdict is Verdict.RESTART

    def test_a_command_restarts_a_command_engine_alone(self) -> None:
        def with_command(word: str, engine: Engine) -> Config:
            return config(tenant(settings=Settings(engine=engine, command=(word,))))

        embedded = plan(with_command("a", Engine.EMBEDDED), with_command("b", Engine.EMBEDDED))
        assert only(embedded).verdict is Verdict.ADJUST
        command = plan(with_command("a", Engine.COMMAND), with_command("b", Engine.COMMAND))
        assert only(command).verdict is Verdict.RESTART

    def test_enabled_and_disabled_stand_above_other_keys(self) -> None:
        on, off = tenant(port=7001), tenant(port=7002, enabled=False)
        assert only(plan(config(on), config(off))).verdict is Verdict.DISABLE
        assert only(plan(config(off), config(on))).verdict is Verdict.ENABLE
        both_off = plan(config(off), config(tenant(port=7001, enabled=False)))
        assert only(both_off).verdict is Verdict.ADJUST

    def test_where_an_entry_stands_and_the_order_of_tokens_are_no_change(self) -> None:
        before = tenant(tokens=(token("a"), token("b")))
        after = attrs.evolve(
            before,
            tokens=before.tokens[::-1],
            origin=Origin(HERE / "tenants.d/alice.yaml", 1),
            settings=Settings(),
        )
        assert change_of(before, after) is None
        assert plan(config(before), config(after)).is_empty


class TestTheService:
    def test_listeners(self) -> None:
        def listening(*endpoints: str) -> Config:
            return config(gateway=Gateway(listen=endpoints))

        made = plan(listening("tcp:1", "tcp:2"), listening("tcp:2", "tcp:3"))
        assert (made.bind, made.close) == (("tcp:3",), ("tcp:1",))
        assert made.gateway[0].effect is Effect.LISTEN

    def test_what_needs_a_restart_is_kept_and_named(self) -> None:
        new = Config(
            file=HERE / "tenants.yaml",
            data_root=HERE / "new",
            run_dir=HERE / "run2",
            gateway=Gateway(workers=4, idle_timeout=9.0),
            tenants=(tenant(data_dir=HERE / "new" / "alice"), tenant("bob", data_dir=HERE / "b")),
        )
        running = config(tenant())
        made = plan(running, new)
        assert [key.key for key in made.pending] == ["data_root", "run_dir", "gateway.workers"]
        assert made.wanted.run_dir == running.run_dir
        assert made.wanted.data_root == running.data_root
        assert made.wanted.gateway == Gateway(idle_timeout=9.0)
        assert [t.data_dir for t in made.wanted.tenants] == [HERE / "data" / "alice", HERE / "b"]
        assert [c.name for c in made.tenants] == ["bob"]

    def test_a_data_root_that_cannot_be_kept_is_refused(self) -> None:
        new = attrs.evolve(
            config(
                tenant(data_dir=HERE / "new/alice"), tenant("bob", data_dir=HERE / "data/alice")
            ),
            data_root=HERE / "new",
        )
        with pytest.raises(UndecidableError, match="bob and alice would have one"):
            plan(config(tenant()), new)

    def test_keys_that_apply_at_once(self) -> None:
        made = plan(config(), config(spawn_concurrency=3, admin=Admin(hosts=("x",))))
        assert [key.key for key in (*made.service, *made.admin)] == ["spawn_concurrency", "hosts"]
        assert not made.is_empty


class TestText:
    def test_it_tells_old_and_new_and_no_secret(self) -> None:
        before = tenant(
            tokens=(token("a", label="laptop"), token("b")),
            settings=Settings(
                engine=Engine.COMMAND,
                command=("sq", "--password", "hunter2"),
                environment=(("SECRET", "hunter2"),),
            ),
        )
        after = attrs.evolve(
            before,
            tokens=(
                token("a", label="laptop", scope=Scope.READ_ONLY),
                token("c", expires=datetime(2027, 1, 1, tzinfo=timezone.utc)),
            ),
            data_dir=HERE / "moved",
            settings=attrs.evolve(
                before.settings,
                environment=(("OTHER", "hunter3"),),
                command=("sq", "--password", "hunter3"),
                limits=Limits(memory_hard=None),
                drain=2.5,
            ),
        )
        made = plan(config(before), config(after, tenant("bob")))
        text = "\n".join(
            [*lines_of(made), json.dumps(facts_of(made)), summary_of(made), repr(made)]
        )
        assert "hunter" not in text
        for digest in (one.sha256.hex() for one in (*before.tokens, *after.tokens)):
            assert digest not in text
        assert f"nothing is copied, its data stays in {HERE / 'data/alice'}" in text
        for line in (
            f"tokens: laptop (rw), {token('b').sha256.hex()[:8]} (rw) -> laptop (ro), "
            f"{token('c').sha256.hex()[:8]} (rw, until 2027-01-01T00:00:00+00:00) (at once)",
            "limits.memory_hard: 2147483648 -> none (at once)",
            "drain: 10 -> 2.5 (at once)",
            "environment: SECRET -> OTHER (restart)",
            "command: sq and 2 arguments -> sq and 2 arguments (restart)",
        ):
            assert f"alice: {line}" in text
        assert summary_of(made) == "tenants: 1 added, 1 restarted, 0 unchanged"

    def test_nothing_changes(self) -> None:
        made = plan(config(tenant()), config(tenant()))
        assert list(lines_of(made)) == []
        assert facts_of(made)["unchanged"] == 1

    def test_a_removed_tenants_data_is_said_to_stay(self) -> None:
        made = plan(config(tenant()), config())
        assert next(lines_of(made)).endswith(f"its data stays in {HERE / 'data/alice'}")
        assert facts_of(made)["tenants"][0]["data_stays_in"] == str(HERE / "data/alice")


TENANTS = st.builds(
    tenant,
    name=st.sampled_from(["a", "b", "c", "d"]),
    port=st.sampled_from([None, 7001, 7002]),
    enabled=st.booleans(),
    tokens=st.lists(st.sampled_from([token("x"), token("y")]), unique=True).map(tuple),
    settings=st.sampled_from([Settings(), Settings(queue=1), Settings(user="x")]),
)
CONFIGS = st.lists(TENANTS, unique_by=lambda t: t.name).map(
    lambda tenants: config(*sorted(tenants, key=lambda t: t.name))
)


class TestLaws:
    @given(CONFIGS)
    @settings(max_examples=50, deadline=None)
    def test_from_itself_to_itself_nothing_changes(self, one: Config) -> None:
        assert plan(one, one).is_empty

    @given(CONFIGS, CONFIGS)
    @settings(max_examples=100, deadline=None)
    def test_the_changes_make_the_one_of_the_other(self, old: Config, new: Config) -> None:
        made = plan(old, new)
        found = {one.name: one for one in old.tenants}
        for change in made.tenants:
            assert found.pop(change.name, None) == change.before
            if change.after is not None:
                found[change.name] = change.after
        wanted = {one.name: one for one in new.tenants}
        assert found.keys() == wanted.keys()
        for name, one in wanted.items():
            assert change_of(found[name], one) is None
        assert len(made.tenants) + made.unchanged == len(
            found.keys() | {t.name for t in old.tenants}
        )
        json.dumps(facts_of(made))
