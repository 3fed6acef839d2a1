-- How a search runs: the arms that it consists of, each with its strategy, the number of rows that match its
-- conditions (about, from a sample), the breadth of the index scan, the indexes used, and the plan
-- with its times in milliseconds. Without an embedding, the text arm alone; without words, the vector arm.
-- Volatile, since only such functions may EXPLAIN.
CREATE FUNCTION pgrecall.explain(
    collection text,
    query_text text DEFAULT NULL,
    query_embedding anycompatible DEFAULT NULL,
    k integer DEFAULT 10,
    filter jsonb DEFAULT NULL,
    tenant text DEFAULT NULL,
    exact boolean DEFAULT false,
    ef_search integer DEFAULT NULL,
    recall double precision DEFAULT NULL,
    uri_prefix text DEFAULT NULL,
    documents uuid[] DEFAULT NULL,
    vector_weight double precision DEFAULT NULL,
    generation integer DEFAULT NULL)
RETURNS TABLE (
    arm text, strategy text, matching bigint, breadth integer, indexes text[], rows bigint,
    planning double precision, execution double precision, plan jsonb)
LANGUAGE plpgsql VOLATILE
SET hnsw.iterative_scan = 'off'
SET hnsw.ef_search = 100
SET enable_sort = on
SET enable_seqscan = on AS $$
DECLARE
    g pgrecall.target := pgrecall.active_generation(collection, generation);
    r pgrecall.request;
    hybrid constant boolean := query_text IS NOT NULL AND query_embedding IS NOT NULL;
    wanted integer;
    statement text;
    taken integer;
    selecting tsquery;
BEGIN
    PERFORM pgrecall.check_k(k);
    wanted := CASE WHEN hybrid THEN greatest(k, 100) ELSE k END;
    r := pgrecall.scoped(g, pgrecall.with_question(
        g, pgrecall.request(g, filter, tenant, uri_prefix, documents), query_text));
    r.embedding := query_embedding::vector;
    matching := r.matching;
    IF query_embedding IS NOT NULL THEN
        PERFORM pgrecall.check_embedding(g, query_embedding::vector);
        arm := 'vector';
        recall := pgrecall.arm_recall(
            g.defaults, recall, pgrecall.weight(g, vector_weight), cardinality(pgrecall.text_arm(g, r, 1)) > 0);
        SELECT p.strategy, p.breadth, p.taken INTO strategy, breadth, taken
          FROM pgrecall.vector_plan(
               g, r, wanted, exact, greatest(wanted, pgrecall.ef_search(
                   g.defaults, g.recall_curve, k, ef_search, recall))) AS p;
        PERFORM set_config('hnsw.ef_search', coalesce(breadth, 100)::text, true),
                set_config('hnsw.iterative_scan',
                           CASE WHEN r.condition IS NULL THEN 'off' ELSE 'relaxed_order' END, true),
                set_config('enable_sort', CASE WHEN strategy = 'exact' THEN 'on' ELSE 'off' END, true);
        statement := pgrecall.vector_sql(g, r.condition, strategy = 'exact');
        EXECUTE 'EXPLAIN (ANALYZE, FORMAT JSON) ' || statement INTO plan
          USING r, wanted, taken;
        PERFORM set_config('enable_sort', 'on', true);
        SELECT * INTO indexes, rows, planning, execution FROM pgrecall.explained(plan);
        RETURN NEXT;
    END IF;
    IF r.terms IS NOT NULL OR r.bm25 IS NOT NULL THEN
        arm := 'text';
        strategy := 'text';
        breadth := NULL;
        selecting := pgrecall.candidates(r.terms, r.weights, r.expected, g.chunk_count,
                                         pgrecall.text_enough(g, r, wanted));
        statement := CASE WHEN r.bm25 IS NULL THEN pgrecall.text_sql(g, r)
                     ELSE pgrecall.bm25_sql(g, r) END;
        PERFORM set_config('enable_sort', CASE WHEN r.bm25 IS NULL THEN 'on' ELSE 'off' END, true),
                set_config('enable_seqscan', 'off', true);
        EXECUTE 'EXPLAIN (ANALYZE, FORMAT JSON) ' || statement INTO plan
          USING r, wanted, selecting;
        PERFORM set_config('enable_sort', 'on', true), set_config('enable_seqscan', 'on', true);
        SELECT * INTO indexes, rows, planning, execution FROM pgrecall.explained(plan);
        RETURN NEXT;
    END IF;
END
$$;

-- What a plan says in short. The row at the top gathers the hits; the rows are counted one node below.
CREATE FUNCTION pgrecall.explained(
    plan jsonb, OUT indexes text[], OUT rows bigint, OUT planning double precision,
    OUT execution double precision)
LANGUAGE sql STABLE AS $$
    SELECT ARRAY(SELECT DISTINCT i #>> '{}' FROM jsonb_path_query(plan, '$.**."Index Name"') AS i),
           (plan #>> '{0,Plan,Plans,0,Actual Rows}')::numeric::bigint,
           (plan #>> '{0,Planning Time}')::double precision,
           (plan #>> '{0,Execution Time}')::double precision
$$;
