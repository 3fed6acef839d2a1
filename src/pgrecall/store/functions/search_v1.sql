-- Search: three functions for everybody (search_vector, search_text, search) on shared pieces that
-- write the SQL of one arm. Identifiers and numbers of ours are written into that SQL (the cast to
-- halfvec(N) must be a literal for the index to be used); values are always parameters:
--   $1 query embedding   $2 tenant   $3 filter (jsonpath)   $4 rows of an arm
--   $5 idf of each term  $6 terms (tsquery[])               $7 terms that select candidates
-- The settings of the index belong to each function, so that they end with it.
-- Errors: PR001 no such collection, PR002 another generation is active, PR003 filter, PR004 argument.

CREATE TYPE pgrecall.hit AS (
    content text,
    score double precision,
    uri text,
    title text,
    metadata jsonb,
    tenant_id text,
    document_id uuid,
    ordinal integer,
    start_offset integer,
    end_offset integer,
    page integer,
    headings text[],
    vector_score double precision,
    text_score double precision,
    vector_rank bigint,
    text_rank bigint,
    strategy text,
    complete boolean
);

-- What a search knows about the generation that it runs in.
CREATE TYPE pgrecall.target AS (
    generation_id integer,
    dimensions integer,
    metric text,
    embedder text,
    language text,
    chunk_count bigint,
    rare_frequency double precision,
    indexed boolean
);

-- The generation that a collection is searched in. A caller that embedded its question for one
-- generation passes it, and is told if that is no longer the active one.
CREATE FUNCTION pgrecall.active_generation(collection text, expected integer DEFAULT NULL)
RETURNS pgrecall.target
LANGUAGE plpgsql STABLE AS $$
DECLARE
    found pgrecall.target;
BEGIN
    SELECT g.generation_id, g.dimensions, g.metric, g.embedder,
           coalesce(c.defaults ->> 'language', 'english'), g.chunk_count, g.rare_frequency,
           coalesce((SELECT i.indisvalid FROM pg_catalog.pg_index AS i
                      WHERE i.indexrelid = to_regclass(
                            'pgrecall.chunks_g' || g.generation_id || '_embedding')), false)
      INTO found
      FROM pgrecall.collections AS c
      JOIN pgrecall.generations AS g ON g.generation_id = c.active_generation_id
     WHERE c.name = collection;
    IF found.generation_id IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'PR001',
            MESSAGE = format('there is no collection named %s', to_json(collection));
    ELSIF found.generation_id <> expected THEN
        RAISE EXCEPTION USING ERRCODE = 'PR002',
            MESSAGE = 'the collection switched to another generation; embed the question again';
    END IF;
    RETURN found;
END
$$;

CREATE FUNCTION pgrecall.check_k(k integer)
RETURNS void
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF k IS NULL OR k NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION USING ERRCODE = 'PR004',
            MESSAGE = 'the number of hits, k, must lie between 1 and 10000';
    END IF;
END
$$;

CREATE FUNCTION pgrecall.check_arguments(g pgrecall.target, query_embedding halfvec, k integer)
RETURNS void
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    PERFORM pgrecall.check_k(k);
    IF query_embedding IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'PR004', MESSAGE = 'the query embedding is missing';
    ELSIF vector_dims(query_embedding) <> g.dimensions THEN
        RAISE EXCEPTION USING ERRCODE = 'PR004', MESSAGE = format(
            'the query embedding has %s dimensions, the collection %s: embed it with %s',
            vector_dims(query_embedding), g.dimensions, g.embedder);
    END IF;
END
$$;

-- The next four only put text together, and touch no table: in LANGUAGE sql they are inlined.

CREATE FUNCTION pgrecall.condition(generation integer, tenant text, path jsonpath)
RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT 'c.generation_id = ' || generation
        || CASE WHEN tenant IS NULL THEN '' ELSE ' AND c.tenant_id = $2' END
        || CASE WHEN path IS NULL THEN '' ELSE ' AND c.metadata @@ $3' END
$$;

-- The distance of a chunk to the question. Only with the cast does it match the HNSW index, so an
-- exact search leaves the cast away.
CREATE FUNCTION pgrecall.distance(metric text, dimensions integer, exact boolean)
RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT '(c.embedding'
        || CASE WHEN exact THEN '' ELSE '::halfvec(' || dimensions || ')' END
        || CASE metric WHEN 'cosine' THEN ' <=> ' WHEN 'ip' THEN ' <#> ' ELSE ' <-> ' END
        || '$1)'
$$;

-- The score of a distance, higher is better: cosine similarity, inner product, or negative distance.
CREATE FUNCTION pgrecall.similarity(metric text)
RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT CASE metric WHEN 'cosine' THEN '(1 - distance)' ELSE '(- distance)' END
$$;

CREATE FUNCTION pgrecall.vector_arm(g pgrecall.target, condition text, exact boolean)
RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT format(
        'SELECT c.*, %1$s AS distance FROM pgrecall.chunks AS c WHERE %2$s ORDER BY %1$s LIMIT $4',
        pgrecall.distance(g.metric, g.dimensions, exact), condition)
$$;

-- Whether at most so many rows match, counted no further than that.
CREATE FUNCTION pgrecall.few_match(condition text, tenant text, path jsonpath, few integer)
RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
DECLARE
    matching bigint;
BEGIN
    EXECUTE format('SELECT count(*) FROM (SELECT FROM pgrecall.chunks AS c WHERE %s LIMIT $1) AS m',
                   condition)
       INTO matching USING few + 1, tenant, path;
    RETURN matching <= few;
END
$$;

-- How the vector arm runs: 'exact' over the matching rows while they are few (in a small collection
-- always), or where there is no index yet; 'hnsw' otherwise. Over 2,000 rows an exact search costs
-- about as much as an index scan.
CREATE FUNCTION pgrecall.vector_strategy(
    g pgrecall.target, condition text, tenant text, path jsonpath, exact boolean)
RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN exact OR NOT g.indexed OR g.chunk_count <= 2000 THEN 'exact'
        WHEN tenant IS NULL AND path IS NULL THEN 'hnsw'
        WHEN pgrecall.few_match(condition, tenant, path, 2000) THEN 'exact'
        ELSE 'hnsw' END
$$;

-- The terms of a question, their weights, and which of them select candidates.
--
-- A chunk's text score is the sum over the terms of idf(term) * ts_rank(tsv, term), with all weights
-- 1 and rank normalisation 1 (divides by 1 + log(length)); idf = ln(1 + (N - df + 0.5) / (df + 0.5)),
-- as in BM25. Document frequencies are in pgrecall.lexemes; a term that is not listed there is rarer
-- than those that are, and counts as half as frequent as the rarest of them.
-- The rarest terms decide a ranking: candidates are the rows that hold one of them, terms being taken
-- in that order until `enough` rows are expected.
CREATE FUNCTION pgrecall.text_terms(
    g pgrecall.target, query_text text, enough integer,
    OUT idf real[], OUT terms tsquery[], OUT rarest tsquery, OUT every tsquery)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    total double precision := greatest(g.chunk_count, 1);
    unlisted double precision := greatest(g.rare_frequency / 2, 1 / total);
    at_most constant integer := 32;
BEGIN
    WITH asked AS (
        SELECT q.lexeme,
               coalesce((SELECT l.frequency FROM pgrecall.lexemes AS l
                          WHERE l.generation_id = g.generation_id AND l.lexeme = q.lexeme),
                        unlisted) AS frequency
          -- A tsvector takes 1 MB; so long a question has its rarest words long before.
          FROM unnest(pg_catalog.to_tsvector(g.language::regconfig, left(query_text, 100000))) AS q
    ), ranked AS (
        SELECT ln(1 + (1 - frequency + 0.5 / total) / (frequency + 0.5 / total)) AS weight,
               ('''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || '''')::tsquery AS term,
               coalesce(sum(frequency * total) OVER (
                   ORDER BY frequency, lexeme
                   ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS expected_before,
               row_number() OVER (ORDER BY frequency, lexeme) AS rank
          FROM asked
    )
    SELECT array_agg(weight ORDER BY rank)::real[],
           array_agg(term ORDER BY rank),
           string_agg(term::text, ' | ' ORDER BY rank) FILTER (WHERE expected_before < enough),
           string_agg(term::text, ' | ' ORDER BY rank)
      INTO idf, terms, rarest, every
      FROM ranked
     WHERE rank <= at_most;
END
$$;

CREATE FUNCTION pgrecall.text_score(terms tsquery[])
RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN coalesce(
        (SELECT '(' || string_agg(
                    format('($5)[%1$s] * ts_rank(''{1,1,1,1}'', c.tsv, ($6)[%1$s], 1)', i), ' + ')
                || ')::double precision'
           FROM generate_series(1, cardinality(terms)) AS i),
        '0::double precision');
END
$$;

-- Which terms select candidates: the rarest, unless fewer than `enough` rows hold one of them.
CREATE FUNCTION pgrecall.text_match(
    condition text, tenant text, path jsonpath, enough integer, rarest tsquery, every tsquery)
RETURNS tsquery
LANGUAGE plpgsql STABLE AS $$
DECLARE
    matching bigint;
BEGIN
    IF every IS NULL OR rarest = every THEN
        RETURN every;
    END IF;
    EXECUTE format(
        'SELECT count(*) FROM (SELECT FROM pgrecall.chunks AS c WHERE %s AND c.tsv @@ $4 LIMIT $1) AS m',
        condition)
       INTO matching USING enough, tenant, path, rarest;
    RETURN CASE WHEN matching < enough THEN every ELSE rarest END;
END
$$;

CREATE FUNCTION pgrecall.text_arm(condition text, terms tsquery[])
RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT format(
        'SELECT c.*, %s AS text_score FROM pgrecall.chunks AS c WHERE %s AND c.tsv @@ $7'
        ' ORDER BY text_score DESC, c.document_id, c.ordinal LIMIT $4',
        pgrecall.text_score(terms), condition)
$$;

-- The chunks nearest to an embedding. An index scan may come back short (with a filter it gives up
-- after hnsw.max_scan_tuples, and it passes over dead rows); then all matching rows are looked at.
CREATE FUNCTION pgrecall.search_vector(
    collection text,
    query_embedding halfvec,
    k integer DEFAULT 10,
    filter jsonb DEFAULT NULL,
    tenant text DEFAULT NULL,
    exact boolean DEFAULT false,
    ef_search integer DEFAULT NULL,
    generation integer DEFAULT NULL)
RETURNS SETOF pgrecall.hit
LANGUAGE plpgsql STABLE
SET hnsw.iterative_scan = 'off'
SET hnsw.ef_search = 100 AS $$
DECLARE
    g pgrecall.target := pgrecall.active_generation(collection, generation);
    path jsonpath := CASE WHEN filter IS NOT NULL THEN pgrecall.filter(filter) END;
    condition text := pgrecall.condition(g.generation_id, tenant, path);
    how text := pgrecall.vector_strategy(g, condition, tenant, path, exact);
    hits pgrecall.hit[];
BEGIN
    PERFORM pgrecall.check_arguments(g, query_embedding, k);
    IF ef_search IS NOT NULL OR k > 100 THEN
        PERFORM set_config(
            'hnsw.ef_search', least(greatest(coalesce(ef_search, 100), k), 1000)::text, true);
    END IF;
    IF tenant IS NOT NULL OR path IS NOT NULL THEN
        -- Go on past rows that do not match. Without a filter it would only cost time.
        PERFORM set_config('hnsw.iterative_scan', 'relaxed_order', true);
    END IF;
    LOOP
        -- "distance + 0": the planner takes an index scan for sorted, and a relaxed one is not quite.
        EXECUTE format(
            'SELECT array_agg((content, %1$s, uri, title, metadata, tenant_id, document_id, ordinal,'
            '                  start_offset, end_offset, page, headings, %1$s, NULL, NULL, NULL,'
            '                  %3$L, true)::pgrecall.hit ORDER BY distance + 0, document_id, ordinal)'
            '  FROM (%2$s) AS arm',
            pgrecall.similarity(g.metric), pgrecall.vector_arm(g, condition, how = 'exact'), how)
           INTO hits USING query_embedding, tenant, path, k;
        EXIT WHEN how = 'exact' OR cardinality(hits) >= k;
        how := 'exact';
    END LOOP;
    RETURN QUERY SELECT h.content, h.score, h.uri, h.title, h.metadata, h.tenant_id, h.document_id,
                        h.ordinal, h.start_offset, h.end_offset, h.page, h.headings, h.vector_score,
                        h.text_score, rank, h.text_rank, h.strategy, h.complete
                   FROM unnest(hits) WITH ORDINALITY AS h (
                        content, score, uri, title, metadata, tenant_id, document_id, ordinal,
                        start_offset, end_offset, page, headings, vector_score, text_score,
                        vector_rank, text_rank, strategy, complete, rank);
END
$$;

-- The chunks whose words answer best; a chunk needs only one of the words.
CREATE FUNCTION pgrecall.search_text(
    collection text,
    query_text text,
    k integer DEFAULT 10,
    filter jsonb DEFAULT NULL,
    tenant text DEFAULT NULL,
    generation integer DEFAULT NULL)
RETURNS SETOF pgrecall.hit
LANGUAGE plpgsql STABLE AS $$
DECLARE
    g pgrecall.target := pgrecall.active_generation(collection, generation);
    path jsonpath := pgrecall.filter(filter);
    condition text := pgrecall.condition(g.generation_id, tenant, path);
    words record;
BEGIN
    PERFORM pgrecall.check_k(k);
    SELECT * INTO words FROM pgrecall.text_terms(g, query_text, greatest(4 * k, 400));
    RETURN QUERY EXECUTE format(
        'SELECT content, text_score, uri, title, metadata, tenant_id, document_id, ordinal,'
        '       start_offset, end_offset, page, headings, NULL::double precision, text_score,'
        '       NULL::bigint, row_number() OVER (ORDER BY text_score DESC, document_id, ordinal),'
        '       ''text'', true'
        '  FROM (%s) AS arm ORDER BY text_score DESC, document_id, ordinal',
        pgrecall.text_arm(condition, words.terms))
    USING NULL::halfvec, tenant, path, k, words.idf, words.terms,
          pgrecall.text_match(condition, tenant, path, k, words.rarest, words.every);
END
$$;

-- Both arms in one statement. The candidates of both are united, both scores are computed for each,
-- and combined: with fusion 'convex', vector_weight * min-max(vector score) + (1 - vector_weight) *
-- text score / largest text score (Bruch et al., 2023, https://arxiv.org/abs/2210.11934); with 'rrf',
-- the sum of 1 / (60 + rank) (Cormack et al., 2009, https://doi.org/10.1145/1571941.1572114).
-- If no word matches, the vector arm decides alone.
CREATE FUNCTION pgrecall.search(
    collection text,
    query_text text,
    query_embedding halfvec,
    k integer DEFAULT 10,
    filter jsonb DEFAULT NULL,
    tenant text DEFAULT NULL,
    exact boolean DEFAULT false,
    ef_search integer DEFAULT NULL,
    vector_weight double precision DEFAULT 0.5,
    fusion text DEFAULT 'convex',
    generation integer DEFAULT NULL)
RETURNS SETOF pgrecall.hit
LANGUAGE plpgsql STABLE
SET hnsw.iterative_scan = 'off'
SET hnsw.ef_search = 100 AS $$
DECLARE
    g pgrecall.target := pgrecall.active_generation(collection, generation);
    path jsonpath := pgrecall.filter(filter);
    condition text := pgrecall.condition(g.generation_id, tenant, path);
    how text := pgrecall.vector_strategy(g, condition, tenant, path, exact);
    candidates integer := greatest(k, 100);
    words record;
    selecting tsquery;
    hits pgrecall.hit[];
BEGIN
    PERFORM pgrecall.check_arguments(g, query_embedding, k);
    IF fusion NOT IN ('convex', 'rrf') THEN
        RAISE EXCEPTION USING ERRCODE = 'PR004', MESSAGE = 'the fusion must be "convex" or "rrf"';
    ELSIF vector_weight NOT BETWEEN 0 AND 1 THEN
        RAISE EXCEPTION USING ERRCODE = 'PR004', MESSAGE = 'the vector_weight must lie between 0 and 1';
    END IF;
    PERFORM set_config('hnsw.ef_search',
                       least(greatest(coalesce(ef_search, 0), candidates), 1000)::text, true);
    IF tenant IS NOT NULL OR path IS NOT NULL THEN
        PERFORM set_config('hnsw.iterative_scan', 'relaxed_order', true);
    END IF;
    SELECT * INTO words FROM pgrecall.text_terms(g, query_text, greatest(4 * candidates, 400));
    selecting := pgrecall.text_match(
        condition, tenant, path, candidates, words.rarest, words.every);
    LOOP
        EXECUTE format($sql$
            WITH v AS MATERIALIZED (%1$s),
                 t AS MATERIALIZED (%2$s),
                 candidates AS (
                SELECT content, uri, title, metadata, tenant_id, document_id, ordinal,
                       start_offset, end_offset, page, headings, distance, %3$s AS text_score
                  FROM v AS c
                UNION ALL
                SELECT content, uri, title, metadata, tenant_id, document_id, ordinal,
                       start_offset, end_offset, page, headings, %4$s AS distance, text_score
                  FROM t AS c
                 WHERE NOT EXISTS (SELECT FROM v WHERE v.tenant_id = c.tenant_id
                                   AND v.document_id = c.document_id AND v.ordinal = c.ordinal)
            ), scored AS (
                SELECT *, %5$s AS vector_score,
                       row_number() OVER (ORDER BY distance, document_id, ordinal) AS vector_rank,
                       CASE WHEN text_score > 0 THEN row_number() OVER (
                           ORDER BY text_score DESC, document_id, ordinal) END AS text_rank,
                       min(%5$s) OVER () AS lowest, max(%5$s) OVER () AS highest,
                       max(text_score) OVER () AS most
                  FROM candidates
            ), fused AS (
                SELECT *, CASE
                       WHEN $9 = 'rrf' THEN 1.0 / (60 + vector_rank)
                                            + coalesce(1.0 / (60 + text_rank), 0)
                       WHEN most = 0 THEN vector_score
                       ELSE $8 * coalesce((vector_score - lowest) / nullif(highest - lowest, 0), 1)
                            + (1 - $8) * text_score / most
                       END AS score
                  FROM scored
                 ORDER BY score DESC, vector_rank
                 LIMIT $10
            )
            SELECT array_agg((content, score, uri, title, metadata, tenant_id, document_id, ordinal,
                              start_offset, end_offset, page, headings, vector_score, text_score,
                              vector_rank, text_rank, %6$L, true)::pgrecall.hit
                             ORDER BY score DESC, vector_rank)
              FROM fused
            $sql$,
            pgrecall.vector_arm(g, condition, how = 'exact'),
            pgrecall.text_arm(condition, words.terms),
            pgrecall.text_score(words.terms),
            pgrecall.distance(g.metric, g.dimensions, true),
            pgrecall.similarity(g.metric),
            'hybrid:' || how)
           INTO hits
          USING query_embedding, tenant, path, candidates, words.idf, words.terms, selecting,
                vector_weight, fusion, k;
        -- As in search_vector.
        EXIT WHEN how = 'exact' OR cardinality(hits) >= k;
        how := 'exact';
    END LOOP;
    RETURN QUERY SELECT * FROM unnest(hits);
END
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
                AND proname IN ('search', 'search_text', 'search_vector') LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, pgrecall, %s', f, home);
    END LOOP;
END
$$;
