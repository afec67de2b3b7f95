"""Identity tokens: made and checked by any node, stored by none.

A token is a Fernet box (AES-128-CBC, HMAC-SHA256; the key is `FabricIdentity.token_key`) around a small
JSON list, and looks like Keystone's own. It is good while all of this holds, read from applied state at
each use: not expired, not revoked by its audit id, its user enabled and with the password it was issued
under, its project enabled and the user still holding a role on it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken

from fabric.control.context import Caller, Cloud
from fabric.control.errors import UnauthenticatedError
from fabric.control.policy import implied_roles
from fabric.control.propose import propose
from fabric.core.identity.model import AuthContext, FabricIdentity, Project, User
from fabric.core.identity.queries import GetAuthContext
from proto.commands.identity import AuthTokenRevoke
from proto.ids import ProjectId, RequestId, UserId

TOKEN_CHARS_MAX = 2048
OPENED_MAX = 1_024  # tokens whose box was opened lately
UNAUTHENTICATED = "The request you have made requires authentication."  # Keystone's; tells nothing
_FORMAT = 1
_AUDIT_IDS_MAX = 2  # its own and the first of its chain


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenClaims:
    """What is inside the box. `password_mark` stands for the user's stored hash at the time of issue: a new
    password voids the token, however far apart the nodes' clocks are."""

    user_id: UserId
    project_id: ProjectId | None
    methods: tuple[str, ...]
    issued_ms: int
    expires_ms: int
    password_mark: str
    audit_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidToken:
    """Claims, and the user, project and roles they stand for right now."""

    claims: TokenClaims
    user: User
    project: Project | None
    context: AuthContext

    @property
    def roles(self) -> frozenset[str]:
        return implied_roles(self.context.role_names)


def new_audit_id() -> str:
    """22 characters, as Keystone's are."""
    return secrets.token_urlsafe(16)


def seal(claims: TokenClaims, fabric: FabricIdentity) -> str:
    fields = [
        _FORMAT,
        claims.user_id,
        claims.project_id,
        list(claims.methods),
        claims.issued_ms,
        claims.expires_ms,
        claims.password_mark,
        list(claims.audit_ids),
    ]
    return _box_of(fabric.token_key).encrypt(json.dumps(fields, separators=(",", ":")).encode()).decode()


def unseal(text: str, fabric: FabricIdentity) -> TokenClaims | None:
    """None for anything this fabric did not seal."""
    if not text.isascii() or len(text) > TOKEN_CHARS_MAX:
        return None
    try:
        return _opened(text, fabric.token_key)
    except (InvalidToken, ValueError):
        return None


@lru_cache(maxsize=OPENED_MAX)
def _opened(text: str, token_key: bytes) -> TokenClaims:
    """What is in the box never changes, and clients send it with every request; whether it still counts is
    judged at each use. Raises, and so remembers nothing of, what this fabric did not seal: InvalidToken,
    ValueError."""
    fields = json.loads(_box_of(token_key).decrypt(text.encode()))
    if not isinstance(fields, list) or len(fields) != 8 or fields[0] != _FORMAT:
        raise ValueError("a box of another format")
    _, user_id, project_id, methods, issued_ms, expires_ms, password_mark, audit_ids = fields
    return TokenClaims(
        user_id=UserId(user_id),
        project_id=ProjectId(project_id) if project_id is not None else None,
        methods=tuple(methods),
        issued_ms=issued_ms,
        expires_ms=expires_ms,
        password_mark=password_mark,
        audit_ids=tuple(audit_ids),
    )


async def issue(
    cloud: Cloud,
    user: User,
    project_id: ProjectId | None,
    methods: tuple[str, ...],
    parent: ValidToken | None,
) -> tuple[str, ValidToken]:
    """A new token. One made from another keeps its expiry and its chain's first audit id (Keystone's rule:
    a stolen token cannot be renewed for ever).

    Raises: UnauthenticatedError when the user is not allowed that scope.
    """
    now_ms = cloud.clock.wall_ms()
    audit_ids: tuple[str, ...] = (new_audit_id(),)
    expires_ms = now_ms + cloud.token_ttl_ms
    if parent is not None:
        audit_ids = (*audit_ids, parent.claims.audit_ids[-1])[:_AUDIT_IDS_MAX]
        expires_ms = parent.claims.expires_ms
    claims = TokenClaims(
        user_id=user.user_id,
        project_id=project_id,
        methods=methods,
        issued_ms=now_ms,
        expires_ms=expires_ms,
        password_mark=_mark(user),
        audit_ids=audit_ids,
    )
    token = await _judge(cloud, claims)
    return seal(claims, await cloud.auth.fabric(cloud.state)), token


async def validate_token(cloud: Cloud, text: str) -> ValidToken:
    """Raises: UnauthenticatedError, in the same words whatever is wrong."""
    claims = unseal(text, await cloud.auth.fabric(cloud.state))
    if claims is None:
        raise UnauthenticatedError(UNAUTHENTICATED)
    return await _judge(cloud, claims)


async def authenticate_token(cloud: Cloud, text: str, request_id: RequestId) -> Caller:
    """Who sends this token. Raises: UnauthenticatedError."""
    return caller_of(await validate_token(cloud, text), request_id)


def caller_of(token: ValidToken, request_id: RequestId) -> Caller:
    return Caller(
        user_id=token.user.user_id,
        user_name=token.user.name,
        domain_id=token.user.domain_id,
        project_id=token.project.project_id if token.project else None,
        project_name=token.project.name if token.project else None,
        roles=token.roles,
        request_id=request_id,
    )


async def revoke(cloud: Cloud, token: ValidToken, request_id: RequestId) -> None:
    """Every node refuses it as soon as it has applied this."""
    command = AuthTokenRevoke(audit_id=token.claims.audit_ids[0], expires_ms=token.claims.expires_ms)
    await propose(cloud, command, request_id=request_id)


async def _judge(cloud: Cloud, claims: TokenClaims) -> ValidToken:
    if cloud.clock.wall_ms() >= claims.expires_ms:
        raise UnauthenticatedError(UNAUTHENTICATED)
    query = GetAuthContext(user_id=claims.user_id, project_id=claims.project_id, audit_id=claims.audit_ids[0])
    context = await cloud.state.read(query)
    user, project = context.user, context.project
    if context.revoked or user is None or not user.enabled or _mark(user) != claims.password_mark:
        raise UnauthenticatedError(UNAUTHENTICATED)
    if claims.project_id is not None and (project is None or not project.enabled or not context.role_names):
        raise UnauthenticatedError(UNAUTHENTICATED)
    return ValidToken(claims=claims, user=user, project=project, context=context)


def _mark(user: User) -> str:
    return hashlib.blake2b((user.password_hash or "").encode(), digest_size=12).hexdigest()


def _box_of(token_key: bytes) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(token_key))
