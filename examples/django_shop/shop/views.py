"""A shop whose customers ask, and whose orders are confirmed by an agent."""

from __future__ import annotations

import secrets

from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_GET, require_POST

from shop.models import Order
from turnkeeper import Client, NotFound, WaitTimeout
from turnkeeper_client import RunHandle, RunSnapshot

POLL_SECONDS = 5.0
# one for all threads; a process that is forked gets connections of its own at its first call
client = Client()


@require_GET
@ensure_csrf_cookie
def enter(request: HttpRequest) -> HttpResponse:
    """Say who one is from now on: a signed cookie, which stands in for Django's log-in."""
    response = HttpResponse("Welcome.", content_type="text/plain")
    if customer_of(request) is None:
        response.set_signed_cookie("customer", secrets.token_hex(8), httponly=True, samesite="Strict")
    return response


@require_POST
def ask(request: HttpRequest) -> HttpResponse:
    """Accept a question (`text`); the same `request_id` again gives the same run."""
    text, key = request.POST.get("text", "").strip(), request.POST.get("request_id")
    if not text or not key:
        return JsonResponse({"error": "text and request_id are needed"}, status=422)
    return accepted(client.enqueue(conversation(request), text, agent="support", idempotency_key=key))


@require_POST
def order(request: HttpRequest) -> HttpResponse:
    """Store an order, and have it confirmed once it is stored.

    Django's connection is none of SQLAlchemy, and SQLAlchemy would not hear of its commit: `connection=`
    cannot join it. So the run is enqueued after the commit. A process that dies in between leaves an order
    without a run; the browser, which had no answer, sends it again, and the key makes one run of both.
    """
    number, article = request.POST.get("number"), request.POST.get("article", "").strip()
    if not number or not article:
        return JsonResponse({"error": "number and article are needed"}, status=422)
    session = conversation(request)
    runs: list[RunHandle] = []
    with transaction.atomic():
        stored, _ = Order.objects.get_or_create(
            number=number, defaults={"customer": session, "article": article}
        )
        if stored.customer != session:
            raise Http404
        transaction.on_commit(lambda: runs.append(confirm(stored)))
    return accepted(runs[0])


def confirm(stored: Order) -> RunHandle:
    """The run that confirms an order: one, however often this is called."""
    text = f"I placed an order: {stored.article}. Please confirm it."
    return client.enqueue(stored.customer, text, agent="support", idempotency_key=f"order-{stored.number}")


@require_GET
def look(request: HttpRequest, run_id: str) -> HttpResponse:
    """The run as it stands: what a page polls."""
    run = own_run(request, run_id)
    failure = run.error.message if run.error else None
    return JsonResponse({"status": run.status.value, "answer": run.output, "error": failure})


@require_GET
def events(request: HttpRequest, run_id: str) -> HttpResponse:
    """What happened past the cursor `after`: at once when the run has ended, else within a few seconds."""
    run = own_run(request, run_id)
    told = []
    try:
        for event in client.events(run.id, request.GET.get("after", "0"), timeout=POLL_SECONDS):
            told.append(event.as_json())
    except WaitTimeout:
        pass  # the page asks again, with the last cursor that it has
    return JsonResponse({"events": told})


def accepted(run: RunHandle) -> HttpResponse:
    """202, and where the run can be looked at."""
    where = reverse("run", args=[run.id])
    return JsonResponse({"run_id": run.id}, status=202, headers={"Location": where})


def customer_of(request: HttpRequest) -> str | None:
    """Who asks, None for somebody new or with a cookie that is not ours."""
    customer: str | None = request.get_signed_cookie("customer", default=None)
    return customer


def conversation(request: HttpRequest) -> str:
    """The session of who asks."""
    customer = customer_of(request)
    if customer is None:
        raise Http404
    return f"shop-{customer}"


def own_run(request: HttpRequest, run_id: str) -> RunSnapshot:
    """The run, if it is of one's own conversation."""
    try:
        run = client.get(run_id)
    except NotFound as error:
        raise Http404 from error
    if run.session_id != conversation(request):
        raise Http404
    return run
