-- What version 1 of the journal left on a disk. Never changed: a new version gets a file of its own.
BEGIN TRANSACTION;
CREATE TABLE deferrals (
    path BLOB PRIMARY KEY,
    stamp TEXT NOT NULL,
    wait TEXT NOT NULL,
    due_at REAL NOT NULL,
    first_seen REAL NOT NULL,
    since REAL NOT NULL,
    attempts INTEGER NOT NULL,
    counted INTEGER NOT NULL,
    last_receipt INTEGER NOT NULL,
    unfinished INTEGER NOT NULL,
    restless INTEGER NOT NULL,
    stored INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO "deferrals" VALUES(X'73747564792F622E64636D','18446744073709551615 18446744073709551614 5 -1 1000000000000000000','creating',1767323100.5,1767323000.0,1767323001.0,3,2,7,0,1,0);
CREATE TABLE receipts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    stored_at REAL NOT NULL,
    study_uid TEXT NOT NULL,
    series_uid TEXT NOT NULL,
    sop_instance_uid TEXT NOT NULL,
    size INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    path BLOB NOT NULL,
    outcome TEXT NOT NULL,
    http_status INTEGER,
    reason INTEGER,
    retrieve_url TEXT
);
INSERT INTO "receipts" VALUES(1,1767323045.25,'1.2.3','1.2.3.4','1.2.3.4.5',5368709120,'abababababababababababababababababababababababababababababababab',X'73747564792F612E64636D','stored',200,NULL,'https://example.org/v2/studies/1.2.3');
INSERT INTO "receipts" VALUES(2,1767323045.25,'1.2.3','1.2.3.4','1.2.3.4.6',5368709120,'abababababababababababababababababababababababababababababababab',X'73747564792FFF2E64636D','stored_with_warning',200,45056,'https://example.org/v2/studies/1.2.3');
INSERT INTO "receipts" VALUES(3,1767323045.25,'1.2.3','1.2.3.4','1.2.3.4.5',5368709120,'abababababababababababababababababababababababababababababababab',X'73747564792F612E64636D','already_stored',409,NULL,NULL);
CREATE INDEX receipts_by_instance ON receipts (sop_instance_uid);
CREATE INDEX deferrals_by_due ON deferrals (due_at);
CREATE INDEX deferrals_by_wait ON deferrals (wait);
CREATE INDEX deferrals_by_first_seen ON deferrals (first_seen);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('receipts',3);
COMMIT;
PRAGMA user_version = 1;
