-- The audit trail: one row per processed event, partitioned by month of the event's own time, and a DEFAULT
-- partition for times outside every month that has one. Without a primary key: each btree costs a third of the
-- rows per second, and uniqueness rests on audit_batch.

CREATE SEQUENCE IF NOT EXISTS event_audit_log_id_seq AS bigint;

CREATE TABLE IF NOT EXISTS event_audit_log (
    id bigint NOT NULL DEFAULT nextval('event_audit_log_id_seq'),
    event_timestamp timestamptz NOT NULL,
    hostname varchar(255) NOT NULL,
    matched_rule_id int,
    handling_decision text NOT NULL,
    forwarded_to_moog boolean NOT NULL DEFAULT false,
    raw_message text
) PARTITION BY RANGE (event_timestamp);

-- What a MUTT 2.x table has too much or too narrow.
DO $$
DECLARE
    item record;
BEGIN
    -- Keys: the primary key's btree, and the reference to alert_rules that kept rules with audit rows undeletable.
    FOR item IN SELECT conname FROM pg_constraint
                WHERE conrelid = 'event_audit_log'::regclass AND contype IN ('p', 'u', 'f') LOOP
        EXECUTE format('ALTER TABLE event_audit_log DROP CONSTRAINT %I', item.conname);
    END LOOP;
    -- Indexes of the parent and, made by hand, of its partitions.
    FOR item IN SELECT i.indexrelid::regclass AS index_name FROM pg_index i
                JOIN pg_class c ON c.oid = i.indexrelid
                WHERE NOT c.relispartition
                  AND c.relname NOT IN ('event_audit_log_host_time', 'event_audit_log_time')
                  AND (i.indrelid = 'event_audit_log'::regclass
                       OR i.indrelid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'event_audit_log'::regclass))
                  AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid) LOOP
        EXECUTE format('DROP INDEX %s', item.index_name);
    END LOOP;
    -- raw_message holds the queued text as it came.
    IF (SELECT atttypid <> 'text'::regtype FROM pg_attribute
        WHERE attrelid = 'event_audit_log'::regclass AND attname = 'raw_message') THEN
        ALTER TABLE event_audit_log ALTER COLUMN raw_message TYPE text USING raw_message::text;
    END IF;
    IF (SELECT atttypid <> 'bigint'::regtype FROM pg_attribute
        WHERE attrelid = 'event_audit_log'::regclass AND attname = 'id') THEN
        ALTER TABLE event_audit_log ALTER COLUMN id TYPE bigint;
    END IF;
    IF NOT (SELECT atthasdef OR attidentity <> '' FROM pg_attribute
            WHERE attrelid = 'event_audit_log'::regclass AND attname = 'id') THEN
        EXECUTE format('SELECT setval(%L, coalesce(max(id), 0) + 1) FROM event_audit_log', 'event_audit_log_id_seq');
        ALTER TABLE event_audit_log ALTER COLUMN id SET DEFAULT nextval('event_audit_log_id_seq');
    END IF;
    -- A sequence value per row would be a WAL record for each 32 rows.
    EXECUTE format('ALTER SEQUENCE %s AS bigint CACHE 1000',
                   coalesce(pg_get_serial_sequence('event_audit_log', 'id'), 'event_audit_log_id_seq'));
END
$$;
ALTER TABLE event_audit_log ALTER COLUMN matched_rule_id DROP NOT NULL;
ALTER TABLE event_audit_log ALTER COLUMN handling_decision TYPE text;
ALTER TABLE event_audit_log ADD COLUMN IF NOT EXISTS received_at timestamptz;
ALTER TABLE event_audit_log ADD COLUMN IF NOT EXISTS event_id uuid;
ALTER TABLE event_audit_log ADD COLUMN IF NOT EXISTS correlation_id text;
ALTER TABLE event_audit_log ADD COLUMN IF NOT EXISTS rule_name text;
ALTER TABLE event_audit_log ADD COLUMN IF NOT EXISTS rule_revision text;
ALTER TABLE event_audit_log ADD COLUMN IF NOT EXISTS team text;
-- Set apart from ADD COLUMN: rows of MUTT 2.x keep NULL, since nobody knows when they came.
ALTER TABLE event_audit_log ALTER COLUMN received_at SET DEFAULT now();

CREATE INDEX IF NOT EXISTS event_audit_log_host_time ON event_audit_log (hostname, event_timestamp);
CREATE INDEX IF NOT EXISTS event_audit_log_time ON event_audit_log USING brin (event_timestamp);

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_partitioned_table
                   WHERE partrelid = 'event_audit_log'::regclass AND partdefid <> 0) THEN
        CREATE TABLE event_audit_log_default PARTITION OF event_audit_log DEFAULT;
    END IF;
END
$$;

-- Batches whose events are audited, each with what its finish owes to Redis. A successor's INSERT of the same id
-- fails here, which is how it learns that the audit is done. By day of the UUIDv7, so that old ones are dropped.
CREATE TABLE IF NOT EXISTS audit_batch (
    batch_id uuid PRIMARY KEY,
    outbox text NOT NULL
) PARTITION BY RANGE (batch_id);
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_partitioned_table
                   WHERE partrelid = 'audit_batch'::regclass AND partdefid <> 0) THEN
        CREATE TABLE audit_batch_default PARTITION OF audit_batch DEFAULT;
    END IF;
END
$$;
