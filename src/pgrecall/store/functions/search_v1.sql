-- Search for everybody: search_vector, search_text, search, similar; and explain, which shows how.
-- An embedding to search with may be a literal, a vector, a halfvec or an array of numbers; it is taken in single
-- precision, and compared in that of the stored vectors.

-- The breadth of the index scan that a caller asks for: directly, or by the recall to be reached.
CREATE FUNCTION pgrecall.ef_search(
    defaults jsonb, curve real[], wanted integer, given integer, recall double precision)
RETURNS integer
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    recall := coalesce(recall, (defaults ->> 'recall')::double precision, 0.98);
    IF recall NOT BETWEEN 0 AND 1 THEN
        RAISE EXCEPTION USING ERRCODE = 'PR004', MESSAGE = 'the recall must lie between 0 and 1';
    ELSIF given NOT BETWEEN 1 AND 1000 THEN
        RAISE EXCEPTION USING ERRCODE = 'PR004', MESSAGE = 'ef_search must lie between 1 and 1000';
    END IF;
    RETURN least(1000, greatest(wanted, coalesce(
        given, pgrecall.breadth(curve, recall, wanted))));
END
$$;

-- The recall that the vector arm of a hybrid search needs, for its answer to reach the recall that is asked for.
-- A near row that the arm misses is missed by the answer only if the words do not find it and the vector's share
-- of the score would have put it there: about weight * what the arm misses, or less. With a share of 0.5 the answer
-- missed 0.028 where the arm missed 0.074 (pieces of source code), and 0.017 of 0.113 (SQuAD). Where no words
-- match, the arm is the answer.
CREATE FUNCTION pgrecall.arm_recall(
    defaults jsonb, recall double precision, weight double precision, by_words boolean)
RETURNS double precision
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN by_words AND wanted BETWEEN 0 AND 1
                THEN greatest(0, 1 - (1 - wanted) / greatest(weight, 0.01))
                ELSE wanted END
      FROM (SELECT coalesce(recall, (defaults ->> 'recall')::double precision, 0.98) AS wanted) AS r
$$;

-- The hits of the vector arm as an answer: ranked, scored by similarity.
CREATE FUNCTION pgrecall.vector_answer(hits pgrecall.hit[], strategy text)
RETURNS SETOF pgrecall.hit
LANGUAGE sql STABLE AS $$
    SELECT h.content, h.vector_score, h.uri, h.title, h.metadata, h.tenant_id, h.document_id,
           h.ordinal, h.start_offset, h.end_offset, h.page, h.headings, h.vector_score, NULL::double precision,
           rank, NULL::bigint, $2, true
      FROM unnest($1) WITH ORDINALITY AS h (
           content, score, uri, title, metadata, tenant_id, document_id, ordinal, start_offset, end_offset,
           page, headings, vector_score, text_score, vector_rank, text_rank, strategy, complete, rank)
$$;

-- The chunks nearest to an embedding.
CREATE FUNCTION pgrecall.search_vector(
    collection text,
    query_embedding anycompatible,
    k integer DEFAULT 10,
    filter jsonb DEFAULT NULL,
    tenant text DEFAULT NULL,
    exact boolean DEFAULT false,
    ef_search integer DEFAULT NULL,
    recall double precision DEFAULT NULL,
    uri_prefix text DEFAULT NULL,
    documents uuid[] DEFAULT NULL,
    generation integer DEFAULT NULL)
RETURNS SETOF pgrecall.hit
LANGUAGE plpgsql STABLE
SET hnsw.iterative_scan = 'off'
SET hnsw.ef_search = 100
SET enable_sort = on AS $$
DECLARE
    g pgrecall.target := pgrecall.active_generation(collection, generation);
    r pgrecall.request;
    found record;
BEGIN
    IF filter IS NULL AND tenant IS NULL AND uri_prefix IS NULL AND documents IS NULL AND NOT exact THEN
        RETURN QUERY EXECUTE format(
            'SELECT * FROM pgrecall.search_vector_g%s($1, $2, $3, $4, $5)', g.generation_id)
            USING collection, query_embedding::vector, k, ef_search, recall;
        RETURN;
    END IF;
    PERFORM pgrecall.check_k(k), pgrecall.check_embedding(g, query_embedding::vector);
    r := pgrecall.request(g, filter, tenant, uri_prefix, documents);
    r.embedding := query_embedding::vector;
    found := pgrecall.vector_arm(
        g, pgrecall.scoped(g, r), k, exact, pgrecall.ef_search(g.defaults, g.recall_curve, k, ef_search, recall));
    RETURN QUERY SELECT * FROM pgrecall.vector_answer(found.hits, found.strategy);
END
$$;

-- The chunks whose words answer best.
CREATE FUNCTION pgrecall.search_text(
    collection text,
    query_text text,
    k integer DEFAULT 10,
    filter jsonb DEFAULT NULL,
    tenant text DEFAULT NULL,
    uri_prefix text DEFAULT NULL,
    documents uuid[] DEFAULT NULL,
    generation integer DEFAULT NULL)
RETURNS SETOF pgrecall.hit
LANGUAGE plpgsql STABLE AS $$
DECLARE
    g pgrecall.target := pgrecall.active_generation(collection, generation);
    r pgrecall.request;
BEGIN
    PERFORM pgrecall.check_k(k);
    r := pgrecall.scoped(g, pgrecall.with_question(
        g, pgrecall.request(g, filter, tenant, uri_prefix, documents), query_text));
    RETURN QUERY
    SELECT h.content, h.text_score, h.uri, h.title, h.metadata, h.tenant_id, h.document_id, h.ordinal,
           h.start_offset, h.end_offset, h.page, h.headings, NULL::double precision, h.text_score,
           NULL::bigint, row_number() OVER (ORDER BY h.text_score DESC, h.document_id, h.ordinal),
           'text', true
      FROM unnest(pgrecall.text_arm(g, r, k)) AS h
     ORDER BY h.text_score DESC, h.document_id, h.ordinal;
END
$$;

-- Both arms. Their candidates are united, each has both scores, and these are combined:
-- 'convex': weight * min-max(vector score) + (1 - weight) * text score / largest text score
--           (Bruch et al., 2023, https://arxiv.org/abs/2210.11934);
-- 'dbsf':   the same, each score scaled by the mean and three standard deviations of its distribution;
-- 'rrf':    2 * weight / (60 + rank) of both, so that equal weights give 1 / (60 + rank) (Cormack et al.,
--           2009, https://doi.org/10.1145/1571941.1572114).
-- If no word matches, the vector arm decides alone.
CREATE FUNCTION pgrecall.fuse(
    candidates pgrecall.hit[], weight double precision, fusion text, k integer, strategy text)
RETURNS SETOF pgrecall.hit
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY
    WITH hits AS MATERIALIZED (
        SELECT h.*, row_number() OVER () AS i FROM unnest(candidates) AS h
    ), united AS (
        -- Ranked without their texts, which would be copied by each sort.
        SELECT DISTINCT ON (h.tenant_id, h.document_id, h.ordinal)
               h.i, h.document_id, h.ordinal, h.vector_score, h.text_score
          FROM hits AS h
         ORDER BY h.tenant_id, h.document_id, h.ordinal
    ), ranked AS (
        SELECT u.*,
               row_number() OVER (ORDER BY u.vector_score DESC, u.document_id, u.ordinal) AS v_rank,
               CASE WHEN u.text_score > 0 THEN row_number() OVER (
                   ORDER BY u.text_score DESC, u.document_id, u.ordinal) END AS t_rank,
               min(u.vector_score) OVER every AS v_low, max(u.vector_score) OVER every AS v_high,
               max(u.text_score) OVER every AS t_high,
               avg(u.vector_score) OVER every AS v_mean, stddev_pop(u.vector_score) OVER every AS v_deviation,
               avg(u.text_score) OVER every AS t_mean, stddev_pop(u.text_score) OVER every AS t_deviation
          FROM united AS u
        WINDOW every AS ()
    ), scored AS (
        SELECT s.i, s.v_rank, s.t_rank, CASE
               WHEN coalesce(s.t_high, 0) = 0 THEN s.vector_score
               WHEN fusion = 'rrf' THEN
                   2 * weight / (60 + s.v_rank) + coalesce(2 * (1 - weight) / (60 + s.t_rank), 0)
               WHEN fusion = 'dbsf' THEN
                   weight * pgrecall.within(s.vector_score, s.v_mean, s.v_deviation)
                   + (1 - weight) * pgrecall.within(s.text_score, s.t_mean, s.t_deviation)
               ELSE weight * coalesce((s.vector_score - s.v_low) / nullif(s.v_high - s.v_low, 0), 1)
                   + (1 - weight) * s.text_score / s.t_high
               END AS fused
          FROM ranked AS s
         ORDER BY fused DESC, s.v_rank
         LIMIT k
    )
    SELECT h.content, f.fused, h.uri, h.title, h.metadata, h.tenant_id, h.document_id, h.ordinal,
           h.start_offset, h.end_offset, h.page, h.headings, h.vector_score, h.text_score,
           f.v_rank, f.t_rank, fuse.strategy, true
      FROM scored AS f JOIN hits AS h USING (i)
     ORDER BY f.fused DESC, f.v_rank;
END
$$;

-- A score as its place between three standard deviations below and above the mean, from 0 to 1.
CREATE FUNCTION pgrecall.within(
    score double precision, mean double precision, deviation double precision)
RETURNS double precision
LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(least(1, greatest(0, 0.5 + (score - mean) / nullif(6 * deviation, 0))), 0.5)
$$;

-- The share of the vector arm where nobody says one. Vectors of the models that read words in their context
-- deserve more than the static model's: of 0.5, 0.6 ... 1, all-MiniLM-L6-v2 has its best mean nDCG@10 at 0.7 on
-- CoSQA, SQuAD and Cranfield (0.629, 0.618 at 0.5), and is better than either arm on each.
CREATE FUNCTION pgrecall.default_weight(embedder text)
RETURNS double precision
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN embedder ~ '^(openai|azure|cohere|sentence-transformers):' THEN 0.7 ELSE 0.5 END
$$;

CREATE FUNCTION pgrecall.weight(g pgrecall.target, given double precision)
RETURNS double precision
LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(given, (g.defaults ->> 'vector_weight')::double precision, pgrecall.default_weight(g.embedder))
$$;

CREATE FUNCTION pgrecall.search(
    collection text,
    query_text text,
    query_embedding anycompatible,
    k integer DEFAULT 10,
    filter jsonb DEFAULT NULL,
    tenant text DEFAULT NULL,
    exact boolean DEFAULT false,
    ef_search integer DEFAULT NULL,
    recall double precision DEFAULT NULL,
    vector_weight double precision DEFAULT NULL,
    fusion text DEFAULT 'convex',
    uri_prefix text DEFAULT NULL,
    documents uuid[] DEFAULT NULL,
    generation integer DEFAULT NULL)
RETURNS SETOF pgrecall.hit
LANGUAGE plpgsql STABLE
SET hnsw.iterative_scan = 'off'
SET hnsw.ef_search = 100
SET enable_sort = on AS $$
DECLARE
    g pgrecall.target := pgrecall.active_generation(collection, generation);
    weight double precision := pgrecall.weight(g, vector_weight);
    wanted integer;
    r pgrecall.request;
    nearest record;
    by_words pgrecall.hit[];
BEGIN
    PERFORM pgrecall.check_k(k), pgrecall.check_embedding(g, query_embedding::vector);
    wanted := greatest(k, 100);
    IF fusion IS NULL OR fusion NOT IN ('convex', 'dbsf', 'rrf') THEN
        RAISE EXCEPTION USING ERRCODE = 'PR004',
            MESSAGE = 'the fusion must be "convex", "dbsf" or "rrf"';
    ELSIF weight NOT BETWEEN 0 AND 1 THEN
        RAISE EXCEPTION USING ERRCODE = 'PR004', MESSAGE = 'the vector_weight must lie between 0 and 1';
    END IF;
    -- A product with one of the smallest numbers there are is an underflow, which Postgres refuses.
    weight := round(weight::numeric, 12);
    r := pgrecall.scoped(g, pgrecall.with_question(
        g, pgrecall.request(g, filter, tenant, uri_prefix, documents), query_text));
    r.embedding := query_embedding::vector;
    by_words := pgrecall.text_arm(g, r, wanted);
    recall := pgrecall.arm_recall(g.defaults, recall, weight, cardinality(by_words) > 0);
    nearest := pgrecall.vector_arm(
        g, r, wanted, exact, greatest(wanted, pgrecall.ef_search(g.defaults, g.recall_curve, k, ef_search, recall)));
    IF r.bm25 IS NOT NULL THEN
        nearest.hits := pgrecall.bm25_scored(g, r, nearest.hits, by_words);
    END IF;
    RETURN QUERY SELECT * FROM pgrecall.fuse(
        nearest.hits || by_words, weight, fusion, k,
        'hybrid:' || nearest.strategy);
END
$$;

-- The chunks most like a document, or like one of its chunks, in other documents: nearest to the mean of
-- its embeddings.
CREATE FUNCTION pgrecall.similar(
    collection text,
    document uuid,
    chunk integer DEFAULT NULL,
    k integer DEFAULT 10,
    filter jsonb DEFAULT NULL,
    tenant text DEFAULT NULL,
    generation integer DEFAULT NULL)
RETURNS SETOF pgrecall.hit
LANGUAGE plpgsql STABLE
SET hnsw.iterative_scan = 'off'
SET hnsw.ef_search = 100
SET enable_sort = on AS $$
DECLARE
    g pgrecall.target := pgrecall.active_generation(collection, generation);
    r pgrecall.request := pgrecall.request(g, filter, tenant, NULL, NULL);
    found record;
BEGIN
    PERFORM pgrecall.check_k(k);
    EXECUTE format(
        'SELECT avg(c.%s::vector) FROM pgrecall.chunks_g%s AS c'
        ' WHERE c.document_id = $1 AND ($2 IS NULL OR c.ordinal = $2) AND ($3 IS NULL OR c.tenant_id = $3)',
        pgrecall.stored_column(g.storage), g.generation_id) INTO r.embedding USING document, chunk, tenant;
    IF r.embedding IS NULL THEN
        RETURN;
    END IF;
    PERFORM pgrecall.check_embedding(g, r.embedding);
    r.excluded := document;
    r := pgrecall.scoped(g, r);
    found := pgrecall.vector_arm(g, r, k, false, pgrecall.ef_search(g.defaults, g.recall_curve, k, NULL, NULL));
    RETURN QUERY SELECT * FROM pgrecall.vector_answer(found.hits, found.strategy);
END
$$;

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
    vector_weight double precision DEFAULT NULL)
RETURNS TABLE (
    arm text, strategy text, matching bigint, breadth integer, indexes text[], rows bigint,
    planning double precision, execution double precision, plan jsonb)
LANGUAGE plpgsql VOLATILE
SET hnsw.iterative_scan = 'off'
SET hnsw.ef_search = 100
SET enable_sort = on
SET enable_seqscan = on AS $$
DECLARE
    g pgrecall.target := pgrecall.active_generation(collection);
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

-- Whoever calls may have any search_path: types and operators of pgvector are found where the
-- extension is, everything else in Postgres and here.
DO $$
DECLARE
    home text := (SELECT extnamespace::regnamespace FROM pg_catalog.pg_extension
                   WHERE extname = 'vector');
    f regprocedure;
BEGIN
    FOR f IN SELECT oid FROM pg_catalog.pg_proc
              WHERE pronamespace = 'pgrecall'::regnamespace
                AND proname IN ('search', 'search_text', 'search_vector', 'similar', 'explain',
                                'measure_recall', 'create_nearest', 'stored_vectors', 'usable') LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, pgrecall, %s', f, home);
    END LOOP;
END
$$;
