"""API keys: what a token says, who it stands for, and how it ends."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from infra.pipeline.audit import read_audit
from infra.pipeline.keys import authenticate, create_key, list_keys, revoke_key, rotate_key
from infra.wiring import GivenServices
from shared.errors import PipelineError
from shared.keys import DEFAULT_SCOPES, SCOPES, ApiKey, Principal, read_token


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(PipelineError) as error:
        call()
    return error.value.code


def test_a_key_stands_for_its_tenant_with_its_scopes(services: GivenServices) -> None:
    new = create_key(services, "acme", "ci", scopes=["jobs:write", "jobs:read"], requests_per_minute=7)
    assert authenticate(services, new.token) == Principal(
        tenant_id="acme", key_id=new.key.document_id, scopes=("jobs:read", "jobs:write"), requests_per_minute=7
    )
    assert new.token.startswith(f"{new.key.prefix}_")


def test_nothing_kept_of_a_key_lets_anyone_in(services: GivenServices) -> None:
    new = create_key(services, "acme", "ci")
    secret = new.token.removeprefix(f"{new.key.prefix}_")
    assert secret[:43] not in new.key.to_json()
    assert refused(lambda: authenticate(services, new.key.token_hash)) == "request.unauthorized"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token: "",
        lambda token: token[:-1],
        lambda token: token + " ",
        lambda token: token + "\n",
        lambda token: token.replace("ew_", "xy_"),
        lambda token: token[:-9] + ("A" if token[-9] != "A" else "B") + token[-8:],
        lambda token: "é" * 75,
    ],
)
def test_a_spoilt_token_is_refused_without_a_look_at_the_store(
    services: GivenServices, spoil: Callable[[str], str]
) -> None:
    token = create_key(services, "acme", "ci").token
    with pytest.raises(PipelineError) as error:
        read_token(spoil(token))
    assert error.value.code == "request.unauthorized"


def test_a_token_of_a_key_that_is_not_there_is_refused(services: GivenServices) -> None:
    new = create_key(services, "acme", "ci")
    services.documents.delete(ApiKey, new.key.document_id)
    assert refused(lambda: authenticate(services, new.token)) == "request.unauthorized"


def test_a_revoked_key_is_refused_at_once_and_stays_in_the_list(services: GivenServices) -> None:
    new = create_key(services, "acme", "ci")
    revoke_key(services, "acme", new.key.document_id)
    assert refused(lambda: authenticate(services, new.token)) == "request.unauthorized"
    assert [key.revoked_at is not None for key in list_keys(services, "acme")] == [True]
    assert refused(lambda: revoke_key(services, "acme", new.key.document_id)) == "key.not_found"
    assert refused(lambda: rotate_key(services, "acme", new.key.document_id)) == "key.not_found"


def test_a_rotated_key_has_two_tokens_for_a_while(services: GivenServices) -> None:
    old = create_key(services, "acme", "ci")
    new = rotate_key(services, "acme", old.key.document_id, grace_s=60)
    assert authenticate(services, new.token).key_id == authenticate(services, old.token).key_id == old.key.document_id
    services.clock.pass_by(seconds=60)
    assert refused(lambda: authenticate(services, old.token)) == "request.unauthorized"
    assert authenticate(services, new.token).tenant_id == "acme"


def test_a_key_rotated_without_grace_ends_its_old_token_at_once(services: GivenServices) -> None:
    old = create_key(services, "acme", "ci")
    rotate_key(services, "acme", old.key.document_id)
    assert refused(lambda: authenticate(services, old.token)) == "request.unauthorized"


def test_another_tenants_key_is_not_to_be_had(services: GivenServices) -> None:
    key_id = create_key(services, "acme", "ci").key.document_id
    assert refused(lambda: revoke_key(services, "evil", key_id)) == "key.not_found"
    assert refused(lambda: rotate_key(services, "evil", key_id)) == "key.not_found"
    assert list_keys(services, "evil") == []


def test_the_last_use_is_noted_now_and_then(services: GivenServices) -> None:
    new = create_key(services, "acme", "ci")
    uses = []
    for _ in range(3):
        authenticate(services, new.token)
        uses.append(services.documents.get(ApiKey, new.key.document_id).last_used_at)
        services.clock.pass_by(minutes=3)
    assert uses[0] == uses[1] and uses[2] - uses[1] == timedelta(minutes=6)


def test_what_happens_to_keys_is_in_the_audit_log(services: GivenServices) -> None:
    new = create_key(services, "acme", "ci", actor="key_boss")
    rotate_key(services, "acme", new.key.document_id)
    revoke_key(services, "acme", new.key.document_id)
    lines = [(line.action, line.actor, line.subject) for line in read_audit(services, "acme")]
    assert sorted(lines) == sorted(
        [
            ("key.created", "key_boss", new.key.document_id),
            ("key.rotated", "owner", new.key.document_id),
            ("key.revoked", "owner", new.key.document_id),
        ]
    )
    assert read_audit(services, "evil") == []


def test_no_key_makes_keys_unless_it_was_allowed_to(services: GivenServices) -> None:
    assert set(SCOPES) - set(DEFAULT_SCOPES) == {"keys:read", "keys:write"}
    principal = authenticate(services, create_key(services, "acme", "ci").token)
    assert refused(lambda: principal.check("jobs:read", "keys:write")) == "request.forbidden"
    principal.check("jobs:read")
    assert refused(lambda: create_key(services, "acme", "ci", scopes=["jobs:all"])) == "request.invalid"
