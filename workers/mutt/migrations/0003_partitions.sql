-- Making and dropping partitions. Functions of MUTT 2.x with the same names may return something else.
DROP FUNCTION IF EXISTS create_monthly_partition(date);
DROP FUNCTION IF EXISTS drop_old_partitions(int);

-- Makes a partition of parent for [low, high) unless it exists, and moves the DEFAULT partition's rows of that
-- range into it (PostgreSQL refuses the partition otherwise). True if it was made.
CREATE OR REPLACE FUNCTION create_partition_from_default(
    parent regclass, key text, partition_name text, low text, high text) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    default_name regclass := (SELECT partdefid FROM pg_partitioned_table WHERE partrelid = parent AND partdefid <> 0);
    schema_name text := (SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = parent);
    columns text := (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
                     WHERE attrelid = parent AND attnum > 0 AND NOT attisdropped);
    moved bigint;
BEGIN
    IF to_regclass(format('%I.%I', schema_name, partition_name)) IS NOT NULL THEN
        RETURN false;
    END IF;
    -- Two makers take turns; writers go on.
    EXECUTE format('LOCK TABLE ONLY %s IN SHARE UPDATE EXCLUSIVE MODE', parent);
    IF to_regclass(format('%I.%I', schema_name, partition_name)) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I.%I (LIKE %s INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', schema_name, partition_name, parent);
    IF default_name IS NOT NULL THEN
        EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', default_name);
        EXECUTE format('WITH gone AS (DELETE FROM %1$s WHERE %2$I >= %3$L AND %2$I < %4$L RETURNING %5$s)
                        INSERT INTO %6$I.%7$I (%5$s) SELECT %5$s FROM gone',
                       default_name, key, low, high, columns, schema_name, partition_name);
        GET DIAGNOSTICS moved = ROW_COUNT;
        IF moved > 0 THEN
            RAISE NOTICE 'moved % rows of % into %', moved, default_name, partition_name;
        END IF;
    END IF;
    EXECUTE format('ALTER TABLE %s ATTACH PARTITION %I.%I FOR VALUES FROM (%L) TO (%L)',
                   parent, schema_name, partition_name, low, high);
    RETURN true;
END
$$;

-- The month of the given day, in UTC whatever the session's time zone. True if the partition was made.
CREATE OR REPLACE FUNCTION create_monthly_partition(month date) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    first date := date_trunc('month', month)::date;
BEGIN
    RETURN create_partition_from_default(
        'event_audit_log', 'event_timestamp', 'event_audit_log_' || to_char(first, 'YYYY_MM'),
        first::text || ' 00:00:00+00', (first + interval '1 month')::date::text || ' 00:00:00+00');
END
$$;

-- Drops the monthly partitions that ended more than so many months ago; returns how many.
CREATE OR REPLACE FUNCTION drop_old_partitions(months int) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    oldest_kept text := 'event_audit_log_' || to_char((now() AT TIME ZONE 'UTC') - make_interval(months => months), 'YYYY_MM');
    old record;
    dropped int := 0;
BEGIN
    IF months < 1 THEN
        RAISE EXCEPTION 'at least one month must be kept, not %', months USING ERRCODE = '22023';
    END IF;
    FOR old IN SELECT c.oid::regclass AS partition_name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
               WHERE i.inhparent = 'event_audit_log'::regclass
                 AND c.relname ~ '^event_audit_log_\d{4}_\d{2}$' AND c.relname < oldest_kept
               ORDER BY c.relname LOOP
        EXECUTE format('DROP TABLE %s', old.partition_name);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END
$$;

-- The least UUIDv7 of a day (UTC): 48 bits of milliseconds, then zeros.
CREATE OR REPLACE FUNCTION uuid_v7_floor(day date) RETURNS uuid
LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex((day - date '1970-01-01')::bigint * 86400000), 12, '0') || repeat('0', 20))::uuid
$$;

CREATE OR REPLACE FUNCTION create_audit_batch_partition(day date) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    RETURN create_partition_from_default(
        'audit_batch', 'batch_id', 'audit_batch_' || to_char(day, 'YYYY_MM_DD'),
        uuid_v7_floor(day)::text, uuid_v7_floor(day + 1)::text);
END
$$;

-- Text as jsonb, or NULL if it is none: for searches in raw_message. A cast of bad text would end the search.
CREATE OR REPLACE FUNCTION jsonb_or_null(raw text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN raw::jsonb;
EXCEPTION WHEN others THEN
    RETURN NULL;
END
$$;
