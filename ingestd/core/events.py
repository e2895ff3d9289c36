"""Every log event, once: its name, its level and what it means. Nothing else may be logged (STYLE: vocabulary once)."""

from __future__ import annotations

import enum


class Level(enum.IntEnum):
    """Numbers as the standard library's logging has them."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


class Event(enum.Enum):
    """`value` is (level, meaning); `name` in lower case is the `event` key of the log line."""

    STARTED = (Level.INFO, "the daemon has its folders, its lock and its settings")
    SETTING_UNREAD = (Level.WARNING, "a variable of the environment looks like a setting and is none")
    STOPPING = (Level.INFO, "a signal came: intake has stopped, what is in flight is finished")
    STOPPED = (Level.INFO, "the last line of a process: what it leaves behind")
    CUT_SHORT = (
        Level.ERROR,
        "the deadline has passed and a disk or share does not answer: the process ends all the same",
    )
    BATCH = (Level.INFO, "the canonical line of one Store transaction")
    VERIFIED = (Level.INFO, "the service was asked whether it holds an instance")
    UNANSWERED = (
        Level.WARNING,
        "the service was asked what it holds and gave no answer that counts: it is asked again, nothing is sent again",
    )
    ON_ITS_WORD = (
        Level.WARNING,
        "files are filed on the service's word alone: it lets nothing be read, so nothing else can prove that it holds them",
    )
    NOT_HELD = (
        Level.ERROR,
        "a file was filed on the service's word, and now that it lets itself be read it does not give those bytes back",
    )
    SET_APART = (
        Level.WARNING,
        "a request draws an answer that speaks of none of its files, and the control passes: its files wait, the others go on",
    )
    QUARANTINED = (Level.WARNING, "a file went to failed/: its reason stands beside it")
    NOTED = (Level.DEBUG, "remarks about a file that was sent all the same")
    DELETED = (
        Level.WARNING,
        "the service deleted what it held to make room for a file, and has not taken that yet: it is sent again, before all others",
    )
    UNPROVED = (
        Level.WARNING,
        "a file was sent after the longest wait: nothing shows that it is whole or that nobody writes it",
    )
    KEPT = (
        Level.WARNING,
        "a stored file stays in done/ although such files are removed: not shown that nobody writes it, or that its bytes are held",
    )
    WRITTEN_LATE = (
        Level.ERROR,
        "a file in done/ was written after it was filed: what the service holds is an earlier state of it",
    )
    HELD = (Level.WARNING, "sending pauses: the service, the role or the network is at fault, no file is")
    TROUBLE = (Level.WARNING, "a request came to nothing, and no file is at fault yet: its files are sent again")
    SILENT = (Level.WARNING, "the service has taken a request and has said nothing for a minute")
    PROBED = (Level.DEBUG, "the control was sent to see whether the service is back; `held` counts how often")
    RESUMED = (Level.INFO, "sending goes on: for how long it was held, and how many files had to wait")
    BRAKED = (
        Level.ERROR,
        "sending has stopped: the service refuses nearly everything, which is more likely us than the files",
    )
    RELEASED = (Level.INFO, "a person took the brake off")
    WAITING = (Level.INFO, "a file is not whole yet, or can't be read: it is looked at again later")
    UNREADABLE = (
        Level.WARNING,
        "files that we may not read, a line a minute while it lasts: mend their owner, mode or ACL",
    )
    RESTING = (
        Level.INFO,
        "a file whose outcome is known stays in the inbox for a while: a copy would lose what somebody may still write",
    )
    UNMOVABLE = (Level.ERROR, "a file's outcome is known and it can't be moved: mend the folder")
    STRAY = (
        Level.ERROR,
        "the move of a file carried its new version away, unsent, and it can't be put back into the inbox yet",
    )
    STRAY_BACK = (Level.INFO, "it is in the inbox again, and is judged")
    INBOX_TROUBLE = (Level.ERROR, "the inbox can't be read")
    INBOX_BACK = (Level.INFO, "the inbox can be read again")
    FOLDER_TROUBLE = (Level.ERROR, "a folder is nearly full, can't be written, or is not there: what needs it waits")
    FOLDER_BACK = (Level.INFO, "all folders can be written, and have room")
    CONNECTION_TROUBLE = (
        Level.ERROR,
        "our side of the connection: its files are bad and the old ones are still used, or no token can be had",
    )
    CONNECTION_MENDED = (Level.INFO, "it is good again")
    IGNORED = (
        Level.WARNING,
        "DICOM files that no intake pattern includes, links, what can't be listed or read: said again while it lasts",
    )
    LOCKED = (
        Level.WARNING,
        "files that are not sent, because nothing can be moved out of their folder: said again while it lasts",
    )
    JOURNAL_TROUBLE = (Level.ERROR, "the journal can't be written: nothing is filed until it can")
    JOURNAL_BACK = (Level.INFO, "the journal can be written again")
    JOURNAL_SET_ASIDE = (Level.ERROR, "the journal could not be used: it was set aside, and begun anew")
    STATE_LOST = (
        Level.ERROR,
        "the state folder is no longer the one that was locked: the daemon ends, to be started again",
    )
    RETENTION = (
        Level.INFO,
        "old files were removed from done/, each proved stored by its receipt; others have no proof",
    )
    CLOCK_DOUBTED = (
        Level.ERROR,
        "the clock may be of another year: nothing is removed from done/ or forgotten until it is believed",
    )
    RETENTION_TROUBLE = (Level.ERROR, "something in done/ can't be read or removed")
    JOB_DIED = (Level.ERROR, "a request ended in an error of our own: its files wait and are sent again")
    THREAD_RESTARTED = (Level.ERROR, "a thread had died and was started again")
    ADMIN_OFF = (Level.WARNING, "`drain` goes on without health and metrics: another process has the port")
    LEASES_UNKNOWN = (
        Level.WARNING,
        "the kernel can't tell here whether somebody still writes a file: what follows from it",
    )
    LEASES_KNOWN = (Level.INFO, "it can tell again")
    WATCH_OFF = (Level.WARNING, "no file events here: the scan alone finds files")
    LIBRARY = (Level.WARNING, "a library complained; its words are not written, they can quote a patient")
    THREAD_DIED = (Level.ERROR, "an exception ended a thread; it is started again")

    @property
    def level(self) -> Level:
        return self.value[0]

    @property
    def meaning(self) -> str:
        return self.value[1]
