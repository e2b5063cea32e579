-- Rules, development hosts and teams. Safe on a MUTT 2.x database: what exists is kept and only widened;
-- new columns come last and have defaults, so that old INSERTs (positional ones too) still work.

CREATE TABLE IF NOT EXISTS alert_rules (
    id serial PRIMARY KEY,
    match_string text,
    trap_oid varchar(255),
    syslog_severity int CHECK (syslog_severity BETWEEN 0 AND 7),
    match_type varchar(20) NOT NULL DEFAULT 'contains' CHECK (match_type IN ('contains', 'regex', 'oid_prefix')),
    priority int NOT NULL DEFAULT 100,
    prod_handling varchar(100) NOT NULL,
    dev_handling varchar(100) NOT NULL,
    team_assignment varchar(100) NOT NULL,
    is_active boolean NOT NULL DEFAULT true,
    CHECK (match_string IS NOT NULL OR trap_oid IS NOT NULL)
);
ALTER TABLE alert_rules ALTER COLUMN match_string TYPE text;
ALTER TABLE alert_rules ADD COLUMN IF NOT EXISTS name text DEFAULT NULL UNIQUE;
-- AlertRule fields without a column: hosts, atMost, alert severity, mode, tests.
ALTER TABLE alert_rules ADD COLUMN IF NOT EXISTS spec jsonb DEFAULT NULL;

CREATE TABLE IF NOT EXISTS development_hosts (
    hostname varchar(255) PRIMARY KEY
);

CREATE TABLE IF NOT EXISTS device_teams (
    hostname varchar(255) PRIMARY KEY,
    team_assignment varchar(100) NOT NULL
);

-- One row whose counter every change of the three tables raises, also one by hand in SQL: workers poll it.
CREATE TABLE IF NOT EXISTS rules_change (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    counter bigint NOT NULL DEFAULT 1
);
INSERT INTO rules_change DEFAULT VALUES ON CONFLICT DO NOTHING;

-- SECURITY DEFINER: whoever may edit a rule need not be granted the counter.
CREATE OR REPLACE FUNCTION raise_rules_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    raised bigint;
BEGIN
    UPDATE rules_change SET counter = counter + 1 RETURNING counter INTO raised;
    PERFORM pg_notify('mutt_rules', raised::text);
    RETURN NULL;
END
$$;

DROP TRIGGER IF EXISTS alert_rules_change ON alert_rules;
CREATE TRIGGER alert_rules_change AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON alert_rules
    FOR EACH STATEMENT EXECUTE FUNCTION raise_rules_change();
DROP TRIGGER IF EXISTS development_hosts_change ON development_hosts;
CREATE TRIGGER development_hosts_change AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON development_hosts
    FOR EACH STATEMENT EXECUTE FUNCTION raise_rules_change();
DROP TRIGGER IF EXISTS device_teams_change ON device_teams;
CREATE TRIGGER device_teams_change AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON device_teams
    FOR EACH STATEMENT EXECUTE FUNCTION raise_rules_change();

CREATE TABLE IF NOT EXISTS config_audit_log (
    id bigserial PRIMARY KEY,
    changed_at timestamptz NOT NULL DEFAULT now(),
    changed_by text NOT NULL,
    operation varchar(20) NOT NULL CHECK (operation IN ('CREATE', 'UPDATE', 'DELETE')),
    table_name text NOT NULL,
    record_id text,
    old_values jsonb,
    new_values jsonb,
    reason text,
    correlation_id text
);
ALTER TABLE config_audit_log ALTER COLUMN record_id TYPE text USING record_id::text;
ALTER TABLE config_audit_log ALTER COLUMN record_id DROP NOT NULL;
ALTER TABLE config_audit_log ALTER COLUMN changed_by TYPE text;
ALTER TABLE config_audit_log ALTER COLUMN table_name TYPE text;
ALTER TABLE config_audit_log ALTER COLUMN correlation_id TYPE text USING correlation_id::text;
CREATE INDEX IF NOT EXISTS config_audit_log_changed_at ON config_audit_log (changed_at);
