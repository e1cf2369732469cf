"""Work done in turns for those who wait for it, and a share for each: results by key, threads, and processes of theirs.

What nobody looks at is put aside, and ended where it works in a process of its own; who looks again has it begun again.
"""

from __future__ import annotations

import concurrent.futures
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from math import inf
from threading import Condition, Thread
from time import monotonic
from typing import Any

from streamlit.runtime.scriptrunner import get_script_run_ctx

from app.room import who
from app.worker import Call, Left, OverLimit, Worker
from app.worker_process import telling
from peftcore import errors

MOST_KEPT = 256
POLL_SECONDS = 0.2
PATIENCE, HURRIED = 10.0, 6.0  # seconds without a look after which nobody waits; where others do, of what is at work
SHORT = 10.0  # seconds that work goes on in any case: to end a process costs as many, which the next one takes to start
IDLE_SECONDS = 600.0  # after which a thread without work ends, and its process
STALE_SECONDS = 5.0  # after which a fault is no longer believed that may have been mended outside of the app
# Of a folder, a file, a network; what is wrong with a setting stays wrong.
MENDED_OUTSIDE = (errors.BadData, errors.DataUnavailable, errors.WeightsUnavailable, OSError)
BUSY_SECONDS = 60.0  # after which what took too much is tried again: the machine may have been busy
PROCESSES = True  # False: calls work in the app's own threads, as tests of pages have it
Work = Callable[[], Any] | Call


class Job(Future):
    """Something asked for. It is never cancelled: one that was put aside waits until somebody looks again."""

    def __init__(self, desk: Desk, work: Work):
        super().__init__()
        self.desk, self.work = desk, work
        self.said: tuple[Any, ...] = ()  # how far it is, as the work tells it
        self.looked, self.began, self.ended = monotonic(), inf, inf

    def look(self) -> None:
        """Somebody waits for it."""
        self.looked = monotonic()
        if not self.done():
            self.desk.enqueue(self, session())

    @property
    def is_wanted(self) -> bool:
        """Whether somebody looked at it lately."""
        return monotonic() - self.looked < PATIENCE

    def result(self, timeout: float | None = None) -> Any:
        """As of any future; waiting for it is looking."""
        end = monotonic() + (inf if timeout is None else timeout)
        while not self.done() and monotonic() < end:
            self.look()
            concurrent.futures.wait([self], min(POLL_SECONDS, max(0.0, end - monotonic())))
        return super().result(0)

    def tell(self, *said: Any) -> None:
        """Notes how far it is. Raises Left where nobody waits."""
        self.said = said
        if not self.is_wanted:
            raise Left


class Desk:
    """Results by key, shared by all sessions, and the work that is still to be done.

    Sessions take turns, whatever each has asked for, and none has more than `workers` - 1 at work: one place is always
    left for somebody else.

    Args:
        workers: how many work at a time.
    """

    def __init__(self, workers: int = 1):
        self.workers = workers
        self.jobs: OrderedDict[Hashable, Job] = OrderedDict()
        self._waiting: OrderedDict[str, OrderedDict[Job, None]] = OrderedDict()  # by session, whose turn is next first
        self._at_work: dict[Job, str] = {}
        self._threads = self._idle = 0
        self._changed = Condition()

    def ask(self, key: Hashable, work: Work) -> Job:
        """The job of this key, begun once; to ask for it is to look at it."""
        with self._changed:
            job = self.jobs.get(key)
            if job is None or _is_stale(job):
                job = self.jobs[key] = Job(self, work)
                for old in [k for k, one in self.jobs.items() if one.done() or not one.is_wanted]:
                    if len(self.jobs) <= MOST_KEPT:
                        break
                    del self.jobs[old]
            if key in self.jobs:
                self.jobs.move_to_end(key)
        job.look()
        return job

    def alone(self, work: Work) -> Job:
        """A job of one page alone, whose result goes with the page: by no key does anybody else ask for it."""
        job = Job(self, work)
        job.look()
        return job

    def know(self, key: Hashable, result: Any) -> Job:
        """A job that is done, as its result is known from elsewhere."""
        job = Job(self, lambda: result)
        job.set_result(result)
        with self._changed:
            return self.jobs.setdefault(key, job)

    def forget(self, key: Hashable) -> None:
        """What is asked for by this key again is done again; what works on it for nobody else ends."""
        with self._changed:
            if (job := self.jobs.pop(key, None)) is not None:
                job.looked = -inf

    def enqueue(self, job: Job, session: str) -> None:
        """Puts a job among those that this session waits for, unless it is at work or done."""
        with self._changed:
            if job.done() or job in self._at_work:
                return
            self._waiting.setdefault(session, OrderedDict())[job] = None
            if self._threads < self.workers and sum(map(len, self._waiting.values())) > self._idle:
                self._threads += 1
                Thread(target=self._serve, name="headroom-page", daemon=True).start()
            self._changed.notify_all()

    def is_wanted(self, job: Job) -> bool:
        """Whether somebody looked at it lately; very lately, where others wait."""
        with self._changed:
            patience = HURRIED if any(one.is_wanted for jobs in self._waiting.values() for one in jobs) else PATIENCE
        now = monotonic()
        return now - job.looked < patience or (job.looked > -inf and now - job.began < SHORT)

    def _next(self) -> Job | None:
        """Takes the job whose turn it is."""
        busy = Counter(self._at_work.values())
        for session, jobs in list(self._waiting.items()):
            for job in list(jobs):
                if job.done() or job in self._at_work or not job.is_wanted:
                    del jobs[job]
            if not jobs:
                del self._waiting[session]
            elif busy[session] < max(1, self.workers - 1):
                job, _ = jobs.popitem(last=False)
                self._waiting.move_to_end(session)
                self._at_work[job] = session
                return job
        return None

    def _serve(self) -> None:
        """One thread's work, with a process of its own where a job asks for one."""
        worker, end = Worker(), monotonic() + IDLE_SECONDS
        try:
            while True:
                with self._changed:
                    self._idle += 1
                    while (job := self._next()) is None and monotonic() < end:
                        self._changed.wait(1.0 if self._waiting else end - monotonic())
                    self._idle -= 1
                    if job is None:
                        self._threads -= 1
                        return
                _do(job, worker)
                if job.done():
                    del job.work  # and what it holds, such as an upload
                end = monotonic() + IDLE_SECONDS
                with self._changed:
                    del self._at_work[job]
                    self._changed.notify_all()
        finally:
            worker.end()


def _do(job: Job, worker: Worker) -> None:
    job.began = monotonic()
    try:
        if isinstance(job.work, Call) and PROCESSES:
            result = worker(job.work, lambda: job.desk.is_wanted(job), lambda *said: setattr(job, "said", said))
        else:
            with telling(job.tell), who.handed_over():
                result = job.work.function(*job.work.args) if isinstance(job.work, Call) else job.work()
    except Left:
        job.said = ()
        return
    except OverLimit as error:
        result = error
    except BaseException as error:
        job.ended = monotonic()
        job.set_exception(error)
        return
    job.ended = monotonic()
    job.set_result(result)


def _is_stale(job: Job) -> bool:
    if not job.done():
        return False
    fault = job.exception() or job.result()
    if not isinstance(fault, (*MENDED_OUTSIDE, OverLimit)):
        return False
    return monotonic() - job.ended > (BUSY_SECONDS if isinstance(fault, OverLimit) else STALE_SECONDS)


def session() -> str:
    """Whose share it is: in a room a person's, however many pages they have open; alone a page's."""
    context = get_script_run_ctx(suppress_warning=True)
    if context is None:
        return ""
    person = who.me()
    return person.id if person else context.session_id
