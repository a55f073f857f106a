"""One session of training: the loop around the steps, and what happens between two of them.

It saves on time, goes back when the model collapses, grants requests, and leaves the same files however often it was
stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch

from recaster.errors import Interrupted, RecasterError, StorageError
from recaster.media.pictures import write_picture
from recaster.progress import Progress
from recaster.train.backup import make_backup
from recaster.train.checkpoint import iteration_of, latest, paths_of, prune, set_aside
from recaster.train.controls import Controls
from recaster.train.execution import uncompiled
from recaster.train.guard import Guard
from recaster.train.hooks import run_hook
from recaster.train.log import LossLine, LossLog, recent_loss
from recaster.train.options import TrainOptions
from recaster.train.parallel import GroupError
from recaster.train.preview import PREVIEWS, PreviewFaces, contrast, preview_faces, render_preview
from recaster.train.run import Run
from recaster.train.samples import FaceSamples
from recaster.train.schedule import next_event
from recaster.train.summary import TrainSummary
from recaster.train.surroundings import stop_request
from recaster.train.tensorboard import Board

PREVIEW = "preview.jpg"
MOST_ROLLBACKS = 3
RETRY_SECONDS = 60.0
"""How long a save waits that the disk has refused."""
UNREAD = 10
"""On an accelerator, losses of this many iterations are read at once: each reading waits for the device."""
GRADIENTS_EVERY = 50
EXPECT_EVERY = 20
"""Iterations between two guesses of how many a time limit allows."""

_GO_ON, _FINISHED, _INTERRUPTED, _ROLL_BACK, _GIVE_UP = range(5)


class Session:
    """One uninterrupted stretch of training, and what happens around its steps."""

    def __init__(
        self,
        run: Run,
        folder: Path,
        samples: tuple[FaceSamples, FaceSamples],
        progress: Progress,
        controls: Controls,
    ) -> None:
        self.run, self.folder, self.progress, self.controls = run, folder, progress, controls
        self.samples = samples
        self.options = run.options
        self.first, self.began = run.iteration, time.monotonic()
        self.guard = Guard()
        self.leads = run.world.leads
        self.log = LossLog(folder, run.iteration) if self.leads else None
        self.board = Board(folder, run.iteration) if self.leads and self.options.tensorboard else None
        self.shown = 0
        self.faces = self._faces() if self.leads else None
        self.unread: list[tuple[int, torch.Tensor, float]] = []
        self.unwritten: list[LossLine] = []
        self.trouble: str | None = None
        self.stopped_by: BaseException | None = None
        self.saved = run.iteration if paths_of(folder) else -1
        self.save_time = self.backup_time = self.began
        self.retry_time = math.inf
        self.rolled_to = -1

    def run_to_the_end(self) -> TrainSummary:
        """Step until the target, a stop, or a collapse too many; the model is saved whichever it was."""
        run, options = self.run, self.options
        try:
            with (
                self.progress.stage("train", options.iterations or None, "iterations", done=self.first),
                stop_request() as check,
            ):
                if self.leads and self.saved != run.iteration:
                    self._save(must=True)
                self._finish(self._iterations(check))
            if self.leads:
                prune(self.folder, options.keep, options.save_every, finished=True)
        finally:
            if self.log is not None:
                self.log.close()
            if self.board is not None:
                self.board.close()
        return self._summary()

    def _iterations(self, check: Callable[[], None]) -> int:
        """Step until the leading process decides that it is over, and give its decision."""
        run = self.run
        try:
            while True:
                decision, run.seconds = run.world.agree(self._decide(), run.seconds)
                if decision == _ROLL_BACK:
                    self._roll_back()
                elif decision == _GO_ON:
                    self._iterate(check)
                else:
                    return int(decision)
        except GroupError:
            # Only the batch under way is lost, unless an accelerator still waits for its share of it.
            if self.leads and run.device.type == "cpu":
                self._save()
            raise

    def _decide(self) -> int:
        if self.trouble is not None:
            return _ROLL_BACK if self.run.rollbacks < MOST_ROLLBACKS else _GIVE_UP
        if self.stopped_by is not None:
            return _INTERRUPTED
        return _FINISHED if reached(self.options, self.run.iteration, self.run.seconds) else _GO_ON

    def _iterate(self, check: Callable[[], None]) -> None:
        run = self.run
        if next_event(run.iteration - 1, self.options) == run.iteration and run.iteration > self.first:
            self._take_up_schedule()
        began = time.perf_counter()
        losses = run.step()
        if not self.leads:
            return
        self.unread.append((run.iteration, losses, began))
        if run.device.type == "cpu" or len(self.unread) >= UNREAD or self._something_due():
            self._read_losses()
        if self.trouble is None:
            self._what_is_due()
        try:
            check()
        except (Interrupted, KeyboardInterrupt) as error:
            self.stopped_by = error

    def _take_up_schedule(self) -> None:
        before = self.run.now.to_mapping() | self.run.net_now.to_mapping()
        self.run.configure()
        self.guard.restart()
        after = self.run.now.to_mapping() | self.run.net_now.to_mapping()
        changed = {name: (before.get(name), value) for name, value in after.items() if before.get(name) != value}
        self.run.history.append({"iteration": self.run.iteration, "scheduled": changed})
        text = ", ".join(f"{name} {old} -> {new}" for name, (old, new) in changed.items())
        self.progress.note(f"schedule at iteration {self.run.iteration}: {text or 'nothing changes'}")

    def _read_losses(self) -> None:
        """Wait for the device, log what it computed, and look whether all is well."""
        if not self.unread:
            return
        assert self.log is not None
        values = torch.stack([losses for _, losses, _ in self.unread]).tolist()
        took = (time.perf_counter() - self.unread[0][2]) / len(self.unread)
        for (iteration, _, _), (src, dst) in zip(self.unread, values, strict=True):
            self.run.seconds += took
            self.trouble = self.trouble or self.guard.observe_loss(src, dst)
            if self.trouble is not None:
                break
            line = LossLine(iteration, src, dst, took)
            if iteration == self.run.iteration and _due(GRADIENTS_EVERY, iteration):
                norm = self.run.gradient_norm()
                self.trouble = self.guard.observe_gradients(norm)
                line = LossLine(iteration, src, dst, took, self.run.learning_rate(self.run.phases[0]), norm)
            self._log(line)
            if self.board is not None:
                self.board.losses(iteration, src, dst, rate=line.rate, norm=line.norm)
            self._tell(src, dst)
        self.unread.clear()

    def _log(self, line: LossLine) -> None:
        """Append to the log; lines that a full disk refuses wait until there is room."""
        assert self.log is not None
        self.unwritten.append(line)
        if len(self.unwritten) > 1 and not _due(UNREAD, line.iteration):
            return
        try:
            if len(self.unwritten) > 1:
                self.log.cut(self.unwritten[0].iteration - 1)
            for waiting in self.unwritten:
                self.log.add(waiting)
            self.unwritten.clear()
        except StorageError as error:
            if len(self.unwritten) == 1:
                self.progress.note(f"{error} The losses wait in memory until there is room.")

    def _tell(self, src: float, dst: float) -> None:
        run = self.run
        limit = 60 * self.options.minutes
        if limit and _due(EXPECT_EVERY, run.iteration):
            by_time = run.iteration + int((limit - run.seconds) * (run.iteration - self.first) / self._spent())
            self.progress.expect(min(by_time, self.options.iterations or by_time))
        try:
            self.progress.advance(src=src, dst=dst)
        except (Interrupted, KeyboardInterrupt) as error:
            self.stopped_by = error

    def _spent(self) -> float:
        return max(time.monotonic() - self.began, 1e-6)

    def _something_due(self) -> bool:
        options, iteration = self.options, self.run.iteration
        at = (options.preview_every, options.save_every, options.every, GRADIENTS_EVERY, options.iterations)
        return iteration == self.first + 1 or any(_due(every, iteration) for every in at)

    def _what_is_due(self) -> None:
        options, iteration, now = self.options, self.run.iteration, time.monotonic()
        asked = self.controls.take()
        if iteration == self.first + 1 or _due(options.preview_every, iteration) or "preview" in asked:
            self.shown += "preview" in asked
            self._preview(new_faces="preview" in asked)
        late = now >= self.retry_time or 0 < 60 * options.save_every_minutes <= now - self.save_time
        if self.trouble is None and (late or _due(options.save_every, iteration) or asked & {"save", "backup"}):
            self._save()
        late = 0 < 3600 * options.backup_every_hours <= now - self.backup_time
        if self.trouble is None and (late or "backup" in asked):
            self._backup()
        if options.run and _due(options.every, iteration):
            self._read_losses()
            problem = run_hook(options.run, self.folder, iteration)
            if problem:
                self.progress.note(problem)
        if "stop" in asked:
            self.stopped_by = Interrupted("stopped on request")

    def _faces(self) -> tuple[PreviewFaces, PreviewFaces]:
        src, dst = self.samples
        return preview_faces(src, self.shown), preview_faces(dst, self.shown)

    def _preview(self, *, new_faces: bool = False) -> None:
        options, run = self.options, self.run
        if not options.preview_every and not new_faces:
            return
        self._read_losses()
        if new_faces:
            self.faces = self._faces()
        assert self.faces is not None
        src, dst = self.faces
        with uncompiled(), nullcontext() if run.average is None else run.average.applied():
            self.trouble = self.trouble or self.guard.observe_contrast(contrast(run.net, src, dst))
            if self.trouble is not None:
                return
            picture = render_preview(run.net, src, dst, run.iteration, self.log.history if self.log else None)
        self.progress.picture("preview", picture)
        try:
            write_picture(self.folder / PREVIEW, picture)
            if options.preview_history and _due(options.preview_every, run.iteration):
                write_picture(self.folder / PREVIEWS / f"{run.iteration:08d}.jpg", picture)
        except StorageError as error:
            self.progress.note(f"no preview was written: {error}")
        if self.board is not None:
            self.board.picture(run.iteration, picture)

    def _save(self, *, must: bool = False) -> None:
        """Write a checkpoint; when the disk refuses, say so and try again later, unless it ``must`` be now."""
        run = self.run
        self.save_time = time.monotonic()
        self._read_losses()
        run.world.check()
        if self.trouble is not None or run.iteration == self.saved:
            return
        if not run.is_sound():
            self.trouble = "a weight is no number any more"
            return
        try:
            if self.log is not None:
                self.log.sync()
            run.save(self.folder)
        except StorageError as error:
            if must:
                raise
            self.retry_time = time.monotonic() + RETRY_SECONDS
            self.progress.note(f"{error} The last checkpoint stays; the next try is in {RETRY_SECONDS:.0f} s.")
            return
        self.saved, self.retry_time = run.iteration, math.inf
        prune(self.folder, self.options.keep, self.options.save_every)

    def _backup(self) -> None:
        self._save()
        self.backup_time = time.monotonic()
        paths = paths_of(self.folder)
        if paths:
            try:
                made = make_backup(self.folder, paths[-1], self.options.backups)
                self.progress.note(f"backup: {made}")
            except StorageError as error:
                self.progress.note(f"no backup was made: {error}")

    def _roll_back(self) -> None:
        """Go on from the last good checkpoint at half the rate; from the one before it when that has failed already."""
        run = self.run
        lost, reason = run.iteration, self.trouble
        with run.world.leader_first():
            paths = paths_of(self.folder)
            if self.leads and len(paths) > 1 and iteration_of(paths[-1]) == self.rolled_to:
                set_aside(paths[-1], "collapsed")
            checkpoint = latest(self.folder, self.progress)
        if checkpoint is None:
            raise RecasterError(f"{reason} before the first save", where=self.folder, mend="Lower the learning rate.")
        rate = run.rate / 2
        run.rollbacks += 1
        run.restore(checkpoint, rate=rate)
        run.history.append({"iteration": run.iteration, "rolled_back_from": lost, "reason": reason, "rate": rate})
        self.rolled_to = self.saved = run.iteration
        self.progress.note(
            f"{reason} at iteration {lost}: going on from the checkpoint of iteration {run.iteration} with the learning"
            f" rate times {rate:g} ({run.rollbacks} of {MOST_ROLLBACKS})"
        )
        self.progress.advance(run.iteration - lost)
        self.trouble = None
        self.unread.clear()
        self.guard = Guard()
        self.unwritten.clear()
        if self.log is not None:
            self.log.cut(run.iteration)
        if self.board is not None:
            self.board.close()
            self.board = Board(self.folder, run.iteration)

    def _finish(self, decision: int) -> None:
        if not self.leads:
            return
        self._read_losses()
        if decision == _GIVE_UP:
            raise RecasterError(
                f"{self.trouble} at iteration {self.run.iteration}, after {self.run.rollbacks} rollbacks",
                where=self.folder,
                mend="The last checkpoint is kept. Lower the learning rate or style and GAN powers, raise batch_size,"
                " or go back further with recast model restore.",
            )
        if decision == _FINISHED:
            self._preview()
        self._save(must=True)
        if decision == _INTERRUPTED:
            raise Interrupted(f"training stopped and saved at iteration {self.run.iteration}") from self.stopped_by

    def _summary(self) -> TrainSummary:
        spent = self._spent()
        loss_src, loss_dst = recent_loss(self.folder)
        src, dst = self.samples
        return TrainSummary(
            iterations=self.run.iteration,
            loss_src=loss_src,
            loss_dst=loss_dst,
            checkpoint=paths_of(self.folder)[-1],
            trained=self.run.iteration - self.first,
            seconds=spent,
            waiting=self.run.waited / spent,
            src_faces=len(src),
            dst_faces=len(dst),
            cache=src.memory + (dst.memory if dst is not src else 0),
            rollbacks=self.run.rollbacks,
            execution=self.run.execution.line(),
        )


def reached(options: TrainOptions, iteration: int, seconds: float) -> bool:
    """Whether a training of that many iterations and seconds, over all sessions, has come as far as it should."""
    enough = 0 < options.iterations <= iteration
    return enough or 0 < 60 * options.minutes <= seconds


def _due(every: int, iteration: int) -> bool:
    return every > 0 and iteration % every == 0
