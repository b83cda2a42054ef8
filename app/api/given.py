"""What every route is given: the platform's ports and who calls."""

from __future__ import annotations

from threading import BoundedSemaphore
from typing import Annotated, cast

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param

from app.api.keys import Caller, verify
from app.api.problems import Unauthorized
from tasks.ports import Ports

_bearer = HTTPBearer(auto_error=False, description="A key that the deployment issued.")


def _ports(request: Request) -> Ports:
    return cast("Ports", request.app.state.ports)


def _caller(
    request: Request,
    _credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Caller:
    return caller_of(request)


def caller_of(request: Request) -> Caller:
    """Return who calls, from the request's head alone.

    Raises:
        Unauthorized: it carries no key, or none of this deployment's.
    """
    scheme, key = get_authorization_scheme_param(request.headers.get("Authorization"))
    if scheme.lower() != "bearer" or not key:
        raise Unauthorized("the request carries no key")
    caller = verify(request.app.state.secret, key)
    if caller is None:
        raise Unauthorized("this deployment did not issue that key")
    return caller


def _places(request: Request) -> BoundedSemaphore:
    return cast("BoundedSemaphore", request.app.state.drawing_places)


def _looking_places(request: Request) -> BoundedSemaphore:
    return cast("BoundedSemaphore", request.app.state.looking_places)


Given = Annotated[Ports, Depends(_ports)]
Who = Annotated[Caller, Depends(_caller)]
DrawingPlaces = Annotated[BoundedSemaphore, Depends(_places)]
LookingPlaces = Annotated[BoundedSemaphore, Depends(_looking_places)]
