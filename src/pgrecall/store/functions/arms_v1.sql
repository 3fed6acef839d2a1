-- The two arms of a search. Each returns its best rows as hits with both scores; what has no embedding
-- or no words to compare with has a score of NULL.

-- The columns of pgrecall.hit, of a chunk c with its distance. Ranks, and the score that orders the answer, are
-- given later.
CREATE FUNCTION pgrecall.hit_columns(s pgrecall.storage, distance text, text_score text)
RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT 'c.content, NULL::double precision, c.uri, c.title, c.metadata, c.tenant_id, c.document_id,'
           ' c.ordinal, c.start_offset, c.end_offset, c.page, c.headings, '
        || pgrecall.similarity(s, distance) || ', ' || text_score
        || ', NULL::bigint, NULL::bigint, NULL::text, true'
$$;

-- The words of a chunk c, read once: a copy of them, with the labels of no lexeme changed. Where they are stored
-- outside of the row, each ts_rank would read them again.
CREATE FUNCTION pgrecall.words_read()
RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT 'setweight(c.tsv, ''A'', ''{}'')'
$$;

-- The text score of a chunk c, as SQL: the weighted sum of the ranks of the terms, however many there are. A chunk
-- without any of them has 0, for which ts_rank says 1e-20 if the term is a phrase; a word that stands there gives far more.
CREATE FUNCTION pgrecall.text_score(terms text, weights text)
RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT 'CASE WHEN ' || terms || ' IS NOT NULL THEN'
        || ' (SELECT CASE WHEN ' || score || ' > 1e-12 THEN ' || score || ' ELSE 0 END::double precision'
        || ' FROM (SELECT ' || pgrecall.words_read() || ' AS words OFFSET 0) AS r,'
        || ' unnest(' || terms || ', ' || weights || ') AS q (term, weight)) END'
      FROM (SELECT 'sum(q.weight * ts_rank(''{1,1,1,1}'', r.words, q.term, 1))' AS score) AS s
$$;

-- The same of so many terms of a request $1, written out, for rows that hold one: for hundreds of rows, as many
-- subqueries take longer than the ranks. A sum in the same order has the same rounding.
CREATE FUNCTION pgrecall.text_score(terms integer)
RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT '(' || string_agg(
               format('($1).weights[%1$s] * ts_rank(''{1,1,1,1}'', c.words, ($1).terms[%1$s], 1)', i), ' + ' ORDER BY i)
        || ')::double precision'
      FROM generate_series(1, terms) AS i
$$;

-- What nearly all searches of vectors are, an index scan without any condition, is done by functions of each
-- generation, made together with it: they hold its SQL as it stands, so that Postgres keeps the plan, which takes
-- as long to make as the scan. Without sorts, only the index can give the order: vectors that are stored outside
-- of their rows make reading all rows look cheap. nearest_gN is the scan; search_vector_gN the whole search, but for
-- what nearly never is: a scan that comes back short is followed by an exact search by whoever calls. Ranks are
-- theirs too, since counting the rows here takes a twentieth of the search.
CREATE FUNCTION pgrecall.create_nearest(generation integer)
RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    s constant pgrecall.storage := (
        SELECT ROW(g.storage, g.metric, g.dimensions, g.prefix)::pgrecall.storage
          FROM pgrecall.generations AS g WHERE g.generation_id = generation);
BEGIN
    EXECUTE format($sql$
        CREATE OR REPLACE FUNCTION pgrecall.nearest_g%1$s(
            query %2$s, wanted integer, taken integer, terms tsquery[], weights real[])
        RETURNS SETOF pgrecall.hit
        LANGUAGE plpgsql STABLE
        SET plan_cache_mode = force_generic_plan
        SET enable_sort = off AS $nearest$
        BEGIN
            RETURN QUERY
            SELECT %3$s FROM (%4$s) AS c
             ORDER BY c.distance, c.document_id, c.ordinal;
        END
        $nearest$
        $sql$,
        generation, pgrecall.stored_type(s),
        pgrecall.hit_columns(s, 'c.distance', pgrecall.text_score('terms', 'weights')),
        pgrecall.nearest_rows(s, generation, 'query', NULL, 'wanted', 'taken'));
    EXECUTE format($sql$
        CREATE OR REPLACE FUNCTION pgrecall.search_vector_g%1$s(
            collection text, query vector, k integer, ef_search integer, recall double precision)
        RETURNS SETOF pgrecall.hit
        LANGUAGE plpgsql STABLE
        SET hnsw.iterative_scan = 'off'
        SET hnsw.ef_search = 100
        SET enable_sort = off
        SET plan_cache_mode = force_generic_plan
        SET search_path FROM CURRENT AS $search$
        DECLARE
            chunk_count bigint;
            curve real[];
            defaults jsonb;
            breadth integer;
        BEGIN
            SELECT n.chunk_count, n.recall_curve, c.defaults INTO chunk_count, curve, defaults
              FROM pgrecall.collections AS c JOIN pgrecall.generations AS n ON n.generation_id = %1$s
             WHERE c.name = collection AND c.active_generation_id = %1$s;
            IF coalesce(k BETWEEN 1 AND 10000 AND chunk_count > 2000 AND vector_dims(query) = %2$s
                        AND %5$s, false)
               AND to_regclass('pgrecall.chunks_g%1$s_embedding') IS NOT NULL THEN
                breadth := pgrecall.ef_search(defaults, curve, k, ef_search, recall);
                PERFORM set_config('hnsw.ef_search', breadth::text, true);
                RETURN QUERY
                SELECT c.content, %3$s, c.uri, c.title, c.metadata, c.tenant_id, c.document_id, c.ordinal,
                       c.start_offset, c.end_offset, c.page, c.headings, %3$s, NULL::double precision,
                       NULL::bigint, NULL::bigint, 'hnsw', true
                  FROM (%4$s) AS c
                 ORDER BY c.distance, c.document_id, c.ordinal;
                RETURN;
            END IF;
            -- Wrong, small, without an index, or not active.
            DECLARE
                g constant pgrecall.target := pgrecall.active_generation(collection, %1$s);
                r pgrecall.request;
            BEGIN
                PERFORM pgrecall.check_k(k), pgrecall.check_embedding(g, query);
                PERFORM set_config('enable_sort', 'on', true);
                r.embedding := query;
                breadth := pgrecall.ef_search(g.defaults, g.recall_curve, k, ef_search, recall);
                RETURN QUERY
                SELECT n.* FROM pgrecall.vector_arm(g, pgrecall.scoped(g, r), k, false, breadth) AS a,
                                pgrecall.vector_answer(a.hits, a.strategy) AS n;
            END;
        END
        $search$
        $sql$, generation, s.dimensions, pgrecall.similarity(s, 'c.distance'),
        pgrecall.nearest_rows(
            s, generation, 'query', NULL, 'k',
            CASE WHEN pgrecall.rescored(s) THEN 'greatest(k, breadth)' ELSE 'k' END),
        -- As pgrecall.check_embedding says.
        CASE s.type WHEN 'vector' THEN 'query <#> query < 0 AND query <#> query > ''-Infinity'''
                    ELSE 'l2_norm(query::halfvec) > 0' END);
END
$$;

CREATE FUNCTION pgrecall.nearest_sql(generation integer)
RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT 'SELECT array_agg(n) FROM pgrecall.nearest_g' || generation || '($1, $2, $3, $4, $5) AS n'
$$;

-- The nearest rows, as SQL: $1 is the request, $2 how many, $3 of how many that an index scan finds; an exact
-- search has no such number.
CREATE FUNCTION pgrecall.vector_sql(g pgrecall.target, condition text, exact boolean)
RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT format(
        'SELECT array_agg(ROW(%s)::pgrecall.hit ORDER BY c.distance, c.document_id, c.ordinal) FROM (%s) AS c',
        pgrecall.hit_columns(
            g.storage, 'c.distance', pgrecall.text_score('($1).terms', '($1).weights')),
        pgrecall.nearest_rows(g.storage, g.generation_id, '($1).embedding', condition, '$2',
                              CASE WHEN NOT exact THEN '$3' END))
$$;

-- The rows whose words answer best, as SQL: $1 is the request, $2 how many, $3 which rows are ranked.
-- Where nothing else narrows them down there is one plan, for which the planner need not know $3: it would read all
-- that it knows about the words of the table, which takes a twentieth of the search.
CREATE FUNCTION pgrecall.text_sql(g pgrecall.target, r pgrecall.request)
RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT format(
        'SELECT array_agg(ROW(%s)::pgrecall.hit ORDER BY c.text_score DESC, c.document_id, c.ordinal)'
        '  FROM (SELECT * FROM (SELECT c.*, %s AS text_score'
        '          FROM (SELECT c.*, %s AS words FROM pgrecall.chunks_g%s AS c'
        '                 WHERE c.tsv @@ %s OFFSET 0) AS c OFFSET 0) AS c'
        '         ORDER BY c.text_score DESC, c.document_id, c.ordinal LIMIT $2) AS c',
        pgrecall.hit_columns(
            g.storage, pgrecall.distance(g.storage, '($1).embedding'), 'c.text_score'),
        pgrecall.text_score(cardinality(r.terms)), pgrecall.words_read(),
        g.generation_id, coalesce('$3 AND ' || r.condition, '(SELECT $3)'))
$$;

-- Up to how many matching rows they are searched exactly. If m of n rows match, an exact search costs m times
-- 1.3 to 2.5 us, a scan that passes by the others up to 20 us for each of about 250 n / m rows (256 dimensions;
-- longer vectors cost both alike); and the scan finds most of the truth, not all.
CREATE FUNCTION pgrecall.few(chunk_count bigint)
RETURNS integer
LANGUAGE sql IMMUTABLE AS $$
    SELECT greatest(2000, sqrt(2000.0 * chunk_count))::integer
$$;

-- The breadth of an index scan that finds this share of the nearest rows, from the curve that was measured
-- for the generation (pgrecall.measure_recall), within half a percent, which is less than the error of the
-- measurement; before it was measured, 200. Between two steps, what is missed falls about evenly with the
-- logarithm of the breadth. Where no step reaches the share, the step beyond which hardly anything is gained.
-- More rows need more breadth.
CREATE FUNCTION pgrecall.breadth(curve real[], recall double precision, wanted integer)
RETURNS integer
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    steps constant integer[] := pgrecall.steps();
    enough double precision := recall - 0.005;
    i integer := 1;
    needed double precision := 200;
BEGIN
    IF curve IS NOT NULL THEN
        IF enough > (SELECT max(reached) FROM unnest(curve) AS reached) THEN
            enough := (SELECT max(reached) FROM unnest(curve) AS reached) - 0.01;
        END IF;
        WHILE curve[i] < enough LOOP
            i := i + 1;
        END LOOP;
        needed := CASE WHEN i = 1 THEN steps[1] ELSE steps[i - 1] * (steps[i] / steps[i - 1]::float8)
            ^ ((enough - curve[i - 1]) / (curve[i] - curve[i - 1])) END;
    END IF;
    RETURN least(1000, greatest(
        wanted + wanted / 2, ceil(round((sqrt(greatest(wanted, 10) / 10.0) * needed)::numeric, 3))));
END
$$;

-- How the vector arm runs. 'exact' over the matching rows while they are few (in a small collection always)
-- or where there is no index yet; else 'hnsw'. If one row in n matches, the best k of them are among the
-- nearest n * k or so, and the scan has the breadth to find these. `taken` rows of it are compared exactly.
CREATE FUNCTION pgrecall.vector_plan(
    g pgrecall.target, r pgrecall.request, wanted integer, exact boolean, ef_search integer,
    OUT strategy text, OUT breadth integer, OUT taken integer)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    n constant double precision := g.chunk_count::double precision / greatest(r.matching, 1);
    few constant boolean := g.chunk_count <= 2000
        OR r.condition IS NOT NULL AND r.matching <= pgrecall.few(g.chunk_count);
BEGIN
    strategy := CASE WHEN exact OR few OR NOT g.indexed THEN 'exact' ELSE 'hnsw' END;
    IF strategy = 'hnsw' THEN
        breadth := CASE WHEN r.condition IS NULL THEN ef_search ELSE least(1000, ceil(
            2.5 * greatest(ef_search * sqrt(n), wanted * n))) END;
        taken := pgrecall.rows_to_compare(g.storage, wanted, ef_search, r.condition IS NOT NULL);
    END IF;
END
$$;

-- The vector arm, nearest first. An index scan may come back short (it gives up after hnsw.max_scan_tuples,
-- and passes over dead rows): then the matching rows are searched exactly after all.
CREATE FUNCTION pgrecall.vector_arm(
    g pgrecall.target, r pgrecall.request, wanted integer, exact boolean, ef_search integer,
    OUT hits pgrecall.hit[], OUT strategy text)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    plan record := pgrecall.vector_plan(g, r, wanted, exact, ef_search);
BEGIN
    strategy := plan.strategy;
    IF strategy = 'hnsw' THEN
        PERFORM set_config('hnsw.ef_search', plan.breadth::text, true);
        IF r.condition IS NULL THEN
            EXECUTE pgrecall.nearest_sql(g.generation_id)
               INTO hits USING r.embedding, wanted, plan.taken, r.terms, r.weights;
        ELSE
            -- Without sorts, only the index of the vectors can give the order: Postgres often takes a range
            -- in a jsonpath for next to no rows, and would sort half the table.
            PERFORM set_config('hnsw.iterative_scan', 'relaxed_order', true),
                    set_config('enable_sort', 'off', true);
            EXECUTE pgrecall.vector_sql(g, r.condition, false) INTO hits USING r, wanted, plan.taken;
            PERFORM set_config('enable_sort', 'on', true);
        END IF;
    END IF;
    IF strategy = 'exact' OR coalesce(cardinality(hits), 0) < wanted THEN
        strategy := 'exact';
        EXECUTE pgrecall.vector_sql(g, r.condition, true) INTO hits USING r, wanted;
    END IF;
END
$$;

-- How many rows the text arm ranks at first: enough of those that match the condition.
CREATE FUNCTION pgrecall.text_enough(g pgrecall.target, r pgrecall.request, wanted integer)
RETURNS double precision
LANGUAGE sql IMMUTABLE AS $$
    SELECT greatest(4 * wanted, 400)
         * greatest(g.chunk_count::double precision / greatest(r.matching, 1), 1)
$$;

-- The text arm, best first. A chunk needs only one of the words; which rows are ranked, pgrecall.candidates
-- says: first the most promising, more of them if too few are found, at last all that hold a word. To the planner,
-- an index that is asked for sets of words looks dearer than reading a table of some thousand rows; it is not.
CREATE FUNCTION pgrecall.text_arm(g pgrecall.target, r pgrecall.request, wanted integer)
RETURNS pgrecall.hit[]
LANGUAGE plpgsql STABLE
SET enable_seqscan = off AS $$
DECLARE
    statement constant text := pgrecall.text_sql(g, r);
    enough double precision := pgrecall.text_enough(g, r, wanted);
    selecting tsquery;
    hits pgrecall.hit[];
BEGIN
    IF r.bm25 IS NOT NULL THEN
        RETURN pgrecall.bm25_arm(g, r, wanted);
    ELSIF r.terms IS NULL THEN
        RETURN NULL;
    END IF;
    LOOP
        selecting := pgrecall.candidates(r.terms, r.weights, r.expected, g.chunk_count, enough);
        EXECUTE statement INTO hits USING r, wanted, selecting;
        EXIT WHEN cardinality(hits) >= wanted
            OR selecting = pgrecall.candidates(r.terms, r.weights, r.expected, g.chunk_count, 'Infinity');
        enough := enough * 4;
    END LOOP;
    RETURN hits;
END
$$;
