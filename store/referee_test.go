package store_test

import (
	"testing"
)

// referee notes every transition that the state machine does not have, and every
// change of a row that has ended.
const referee = `
	CREATE TABLE foul (what text);
	CREATE FUNCTION referee() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF OLD.state = 'unknown' AND NEW.state IN ('succeeded', 'failed') AND NEW.gen = OLD.gen
			OR OLD.state IN ('failed', 'unknown', 'expired') AND NEW.state = 'queued' AND NEW.gen = OLD.gen + 1 AND NEW.retry_gen = NEW.gen THEN
			RETURN NEW;
		ELSIF OLD.finished_at IS NOT NULL AND to_jsonb(OLD) - '{cost_nano,charge_nano,unpriced_calls}'::text[]
			<> to_jsonb(NEW) - '{cost_nano,charge_nano,unpriced_calls}'::text[] THEN
			INSERT INTO foul VALUES ('changed after its end: ' || OLD.state || ' -> ' || NEW.state);
		ELSIF OLD.state <> NEW.state AND NOT (OLD.state || ' ' || NEW.state) = ANY (ARRAY[
			'scheduled running', 'scheduled cancelled', 'scheduled expired',
			'queued running', 'queued cancelled', 'queued expired', 'queued scheduled',
			'retrying running', 'retrying cancelled', 'retrying expired',
			'queued succeeded', 'retrying succeeded', 'scheduled succeeded', -- by a late answer
			'running succeeded', 'running failed', 'running cancelled', 'running expired', 'running unknown',
			'running retrying', 'running queued']) THEN
			INSERT INTO foul VALUES (OLD.state || ' -> ' || NEW.state);
		ELSIF NEW.gen < OLD.gen OR NEW.gen > OLD.gen + 1 THEN
			INSERT INTO foul VALUES ('generation ' || OLD.gen || ' -> ' || NEW.gen);
		ELSIF OLD.state = 'running' AND NEW.state = 'running' AND OLD.lease_token <> NEW.lease_token THEN
			INSERT INTO foul VALUES ('a lease was taken from its holder without a new generation');
		END IF;
		RETURN NEW;
	END $$;
	CREATE TRIGGER referee BEFORE UPDATE ON job_states FOR EACH ROW EXECUTE FUNCTION referee();
	CREATE FUNCTION call_referee() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF OLD.state = 'unknown' AND NEW.state <> 'unknown' AND NEW.corrected_at IS NULL THEN
			INSERT INTO foul VALUES ('a call was corrected in silence');
		ELSIF OLD.state IN ('failed_unbilled', 'failed_billed') AND OLD.latency_ms IS NULL AND NEW.latency_ms IS NOT NULL THEN
			RETURN NEW; -- a person has settled it, and its holder knows better
		ELSIF OLD.state NOT IN ('running', 'unknown') THEN
			INSERT INTO foul VALUES ('a settled call was settled again: ' || OLD.state || ' -> ' || NEW.state);
		END IF;
		RETURN NEW;
	END $$;
	CREATE TRIGGER referee BEFORE UPDATE ON calls FOR EACH ROW EXECUTE FUNCTION call_referee();
	CREATE FUNCTION money_referee() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF NEW.blocks AND NEW.reserved_nano > OLD.reserved_nano AND NEW.spent_nano::numeric + NEW.reserved_nano > NEW.limit_nano
			AND NEW.changed_at <> now() THEN -- one that is being set counts what is under way
			INSERT INTO foul VALUES ('a call was let through above a budget');
		ELSIF NEW.spent_nano < 0 OR NEW.reserved_nano < 0 THEN
			INSERT INTO foul VALUES ('a budget has spent or reserved less than nothing');
		END IF;
		RETURN NEW;
	END $$;
	CREATE TRIGGER referee BEFORE UPDATE ON budgets FOR EACH ROW EXECUTE FUNCTION money_referee()`

// noFoul fails with what the referee has noted.
func (w *database) noFoul(t *testing.T) {
	t.Helper()
	for _, foul := range list[string](t, w, `SELECT to_jsonb(what || ', ' || count(*) || ' times') FROM foul GROUP BY what`) {
		t.Error(foul)
	}
}
