"""Signing in and out."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import authenticate, login, logout
from django.middleware.csrf import get_token
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_protect
from drf_spectacular.utils import extend_schema
from rest_framework.authentication import TokenAuthentication
from rest_framework.authtoken.models import Token
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import ScopedRateThrottle
from rest_framework.views import APIView

from ..serializers import CredentialsSerializer, TokenSerializer, UserSerializer


def _authenticated(request: Request) -> Any:
    credentials = CredentialsSerializer(data=request.data)
    credentials.is_valid(raise_exception=True)
    user = authenticate(request, **credentials.validated_data)
    if user is None:
        raise AuthenticationFailed("The username or the password is wrong. Check both and try again.")
    return user


class SigningInView(APIView):
    """Takes credentials: open to all, slowed down for those who guess."""

    authentication_classes: list[Any] = []
    permission_classes = [AllowAny]
    throttle_classes = [ScopedRateThrottle]
    throttle_scope = "login"

    def get_authenticate_header(self, request: Request) -> str:
        """Without a challenge DRF would turn the 401 of a wrong password into a 403."""
        return TokenAuthentication.keyword


class TokenView(SigningInView):
    """Exchange username and password for an API token."""

    @extend_schema(request=CredentialsSerializer, responses=TokenSerializer, auth=[])
    def post(self, request: Request) -> Response:
        token, _ = Token.objects.get_or_create(user=_authenticated(request))
        return Response({"token": token.key})


@method_decorator(csrf_protect, name="dispatch")
class LoginView(SigningInView):
    """Open a session (cookie) for the browser."""

    @extend_schema(request=CredentialsSerializer, responses=UserSerializer, auth=[])
    def post(self, request: Request) -> Response:
        user = _authenticated(request)
        login(request._request, user)
        return Response(UserSerializer(user).data)


class LogoutView(APIView):
    """Close the session."""

    @extend_schema(request=None, responses={204: None})
    def post(self, request: Request) -> Response:
        logout(request._request)
        return Response(status=204)


class CsrfView(APIView):
    """Set the cookie ``csrftoken``, whose value goes into the header ``X-CSRFToken`` of writes."""

    authentication_classes: list[Any] = []
    permission_classes = [AllowAny]

    @extend_schema(request=None, responses={204: None}, auth=[])
    def get(self, request: Request) -> Response:
        get_token(request._request)
        return Response(status=204)


class MeView(APIView):
    """Who is signed in."""

    @extend_schema(responses=UserSerializer)
    def get(self, request: Request) -> Response:
        return Response(UserSerializer(request.user).data)
