"""The ClientApp: a node hosts a cohort of devices, consecutive ones; with one device per node it is that device.

An action per message of a strategy. `simulations.actions` has what they share; those without a name, Flower's own train
and evaluate, are in `simulations.global_weights`.
"""

import time

import numpy as np
import torch
from flwr.app import Message
from flwr.clientapp import ClientApp
from numpy.typing import NDArray

from chord_fl.blocks import computed
from chord_fl.device import operations
from chord_fl.device.adaptation import fit
from chord_fl.device.counting import local_to, ranks_of_counts
from chord_fl.device.finetuning import ranks_after_finetuning
from chord_fl.device.phones import Exchange
from chord_fl.device.ranking import profiles, ranks_of_plans, ranks_of_weights
from chord_fl.device.refresh import decide, receive
from chord_fl.quantization.packed import average_bits
from chord_fl.status import Status
from chord_fl.wire.plans import decode_plans
from chord_fl.wire.profiles import encode_profiles
from simulations.actions import (
    Columns,
    among,
    begin,
    guarded,
    payload_bytes,
    placed,
    present,
    received_candidates,
    received_candidates_of,
    results,
    scored_bytes,
    sizes,
    with_shared_weights,
)
from simulations.cohort import Cohort
from simulations.global_weights import evaluate, train
from strategies.messages import devices_of, pack, payload_of

app = ClientApp()


@app.query("session")
@guarded
def session(cohort: Cohort, message: Message) -> Message:
    """Say who is here; a first session downloads the model."""
    _ = cohort.model.bank, cohort.model.demotions
    return present(cohort, cohort.phones, message)


@app.query("profile")
@guarded
def profile(cohort: Cohort, message: Message) -> Message:
    """Compute every device's profile; upload it where the plan that the device holds is stale, or there is none."""
    model, history, config = cohort.model, cohort.local.history, cohort.config
    exchange = Exchange(cohort.phones)
    exchange.appear(cohort.taking_part)
    exchange.move()
    present = np.flatnonzero(exchange.alive)
    started = time.perf_counter()  # the history was loaded before
    computed_ = profiles(model, history[present])
    seconds = (time.perf_counter() - started) / computed(len(present))
    found = np.zeros((cohort.count, computed_.shape[1]), dtype=np.float32)
    found[present] = computed_
    finite: NDArray[np.bool_] = np.asarray(np.isfinite(found).all(axis=1))
    encoded = encode_profiles(
        np.where(finite[:, None], found, np.float32(0)), model.fingerprint, config.simulation.profile_format
    )
    known = exchange.alive & finite
    decision = decide(
        config.life.refresh, cohort.round, cohort.storage, encoded, known, model.fingerprint, model.spec.dim
    )
    # a device that neither asks nor compares has no need of its profile: the drift on record is our measurement
    needed = exchange.alive & (decision.asked | ~finite | config.life.refresh.startswith("cosine"))
    uploads = [own if asks else b"" for own, asks in zip(encoded, decision.asked, strict=True)]
    exchange.move(up=sizes(uploads))
    exchange.compute(np.where(needed, float(operations.profile(model.spec)), 0.0), needed * model.encoder_bytes)
    exchange.end(last=False)
    exchange.stop(~finite, Status.FAILED, "profile: not a finite number")
    exchange.refuse(decision.errors)
    sent = exchange.upload(uploads)
    columns = {
        "device": cohort.devices,
        "seconds": np.where(needed, seconds, 0.0),
        "asked": (sizes(sent) > 0).astype(np.int64),
        "drift": decision.drift,
        **exchange.columns(),
    }
    return Message(pack(columns=columns, payload={"profile": sent}, errors=exchange.errors), reply_to=message)


@app.evaluate("plan")
@guarded
def plan(cohort: Cohort, message: Message) -> Message:
    """Fit the plan that came, or is held, to the resources of the moment and rank; then a stranger's, the control."""
    model, devices, spec = cohort.model, devices_of(message), cohort.model.spec
    chosen = devices - cohort.first
    if not np.isin(chosen, np.arange(cohort.count)).all():
        raise ValueError("asked about a device that is not here")
    channels = model.layout.channels
    exchange = Exchange(cohort.phones, chosen)
    exchange.leave()
    exchange.move(down=payload_bytes(message, "plan") + payload_bytes(message, "candidates"))
    arrived = exchange.receive(payload_of(message, "plan"))
    codes, refused = receive(cohort.round, cohort.storage, chosen, arrived, model.fingerprint, channels)
    exchange.refuse(refused)
    candidates = received_candidates(cohort, message, exchange)
    resources_ = cohort.phones.resources.of(chosen)
    started = time.perf_counter()
    fitted = fit(codes, resources_, model.demotions)
    adaptation = (time.perf_counter() - started) / max(len(devices), 1)
    exchange.hold(fitted.memory_bytes, None)
    ranking = operations.ranking(spec, cohort.config.simulation.candidates) + operations.unpacking(model.layout)
    exchange.compute(operations.adaptation(model.layout) + ranking, fitted.memory_bytes + scored_bytes(cohort))
    exchange.end()
    going = np.flatnonzero(exchange.alive)
    mine, some = cohort.local.of(chosen[going]), among(candidates, going)
    started = time.perf_counter()
    ranks = ranks_of_plans(model, mine, fitted.codes[going], some)
    seconds = adaptation + (time.perf_counter() - started) / computed(len(going))
    known: Columns = {
        "rank": placed(ranks, going, devices),
        "average_bits": average_bits(model.demotions.levels[fitted.codes], model.layout.sizes),
        "memory_bytes": fitted.memory_bytes,
        "memory_budget_bytes": resources_.memory_bytes,
        "seconds": seconds,
        "adaptation_seconds": adaptation,
    }
    strangers = payload_of(message, "control")
    if strangers:
        # only the control suffers from a control that is refused: a rank of 0 leaves the device out of it
        others, unread = decode_plans(strangers, model.fingerprint, channels)
        tried = fit(others, resources_, model.demotions).codes[going]
        ranks = placed(ranks_of_plans(model, mine, tried, some), going, devices)
        known["rank_stranger"] = np.where([reason is None for reason in unread], ranks, 0)
    columns = results(devices, **known, **exchange.columns())
    return Message(pack(columns=columns, errors=exchange.errors), reply_to=message)


@app.evaluate("static")
@guarded
def static(cohort: Cohort, message: Message) -> Message:
    """Rank with the weights that were shipped."""
    exchange = begin(cohort, cohort.phones, message)
    columns = with_shared_weights(
        cohort,
        cohort.model,
        message,
        exchange,
        0,
        lambda mine, candidates: (ranks_of_weights(cohort.model, mine, cohort.model.weights, candidates), 0.0),
    )
    return Message(pack(columns=columns, errors=exchange.errors), reply_to=message)


@app.evaluate("finetune")
@guarded
def finetune(cohort: Cohort, message: Message) -> Message:
    """Train the shipped weights on the own history, then rank."""
    steps, rate = int(cohort.request["steps"]), float(cohort.request["learning_rate"])
    exchange = begin(cohort, cohort.phones, message)
    columns = with_shared_weights(
        cohort,
        cohort.model,
        message,
        exchange,
        operations.finetuning(cohort.model.spec, steps),
        lambda mine, candidates: ranks_after_finetuning(cohort.model, mine, steps, rate, candidates),
    )
    return Message(pack(columns=columns, errors=exchange.errors), reply_to=message)


app.train()(guarded(train))
app.evaluate()(guarded(evaluate))


@app.query("counts")
@guarded
def holds_counts(cohort: Cohort, message: Message) -> Message:
    """As `session`, where the download is a table of counts."""
    return present(cohort, cohort.phones_that_count, message)


@app.evaluate("count")
@guarded
def count(cohort: Cohort, message: Message) -> Message:
    """Look up the recent items in the table that was shipped, and rank."""
    table, config = cohort.table, cohort.config
    exchange = begin(cohort, cohort.phones_that_count, message)
    devices, rows = cohort.devices[exchange.rows], exchange.rows
    mine = local_to(table, cohort.interactions, config.simulation.seen == "exclude").of(rows)
    none = torch.zeros(table.items + 1, 0)  # an id is all that is needed of a candidate
    candidates = received_candidates_of(config, message, exchange, table.fingerprint, none, mine.targets)
    exchange.hold(table.nbytes, None)
    exchange.compute(operations.counting(table), table.nbytes)
    exchange.end()
    going = np.flatnonzero(exchange.alive)
    started = time.perf_counter()
    ranks = ranks_of_counts(table, mine.of(going), among(candidates, going))
    columns = results(
        devices,
        rank=placed(ranks, going, devices),
        memory_bytes=table.nbytes,
        memory_budget_bytes=exchange.phones.resources.memory_bytes[rows],
        seconds=(time.perf_counter() - started) / computed(len(going)),
        **exchange.columns(),
    )
    return Message(pack(columns=columns, errors=exchange.errors), reply_to=message)
