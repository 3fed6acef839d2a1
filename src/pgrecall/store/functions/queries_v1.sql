-- The questions that a collection was asked, kept for measuring its recall, if it says so (defaults.log_queries).

-- Keeps questions; returns how many. A question has the place that its hash says, among a thousand: the log is
-- bounded without being counted, equal questions are one, and new ones take the places of old ones.
-- Never waits, and never fails a caller's transaction: nothing is kept where nothing may be written (replicas,
-- read-only transactions, roles without the right), nor while another transaction is writing.
CREATE FUNCTION pgrecall.log_queries(collection integer, asked text[])
RETURNS integer
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    kept integer := 0;
BEGIN
    IF current_setting('transaction_read_only')::boolean
       OR NOT has_table_privilege('pgrecall.queries', 'INSERT, UPDATE')
       OR NOT EXISTS (SELECT FROM pgrecall.collections AS c
                       WHERE c.collection_id = collection AND c.defaults @> '{"log_queries": true}')
       OR NOT pg_try_advisory_xact_lock(hashtext('pgrecall.queries'), collection) THEN
        RETURN kept;
    END IF;
    INSERT INTO pgrecall.queries AS q (collection_id, slot, question, asked_at)
    SELECT DISTINCT ON (slot) collection, slot, left(question, 1000), clock_timestamp()
      FROM unnest(asked) WITH ORDINALITY AS a (question, place),
           LATERAL (SELECT (hashtext(question) & 2147483647) % 1000) AS h (slot)
     ORDER BY slot, place DESC
        ON CONFLICT (collection_id, slot)
        DO UPDATE SET question = excluded.question, asked_at = excluded.asked_at;
    GET DIAGNOSTICS kept = ROW_COUNT;
    RETURN kept;
END
$$;
