-- What a search runs in and what it is asked for, gathered once.
--
-- Search functions write their SQL: identifiers and numbers of ours stand in it (the expression in the index
-- must stand there as it is for the index to be used), values never do. All values travel as one parameter, $1,
-- of the type pgrecall.request.
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
    collection_id integer,
    generation_id integer,
    dimensions integer,
    storage pgrecall.storage,
    embedder text,
    languages text[],
    chunk_count bigint,
    rare_frequency double precision,
    recall_curve real[],
    defaults jsonb,
    indexed boolean
);

-- What is asked: the question, and the rows that may answer it. `required` holds the phrases and
-- exclusions of a query; `terms` are its words, rarest first, with their weights and the number of chunks
-- that are expected to hold each. `condition` is which rows may answer, as SQL, NULL if all may; `matching`
-- is about how many these are. Where an extension ranks words (bm25_v1.sql), they are in `bm25` and `names`
-- instead of `terms`, and `holding` finds the rows with any of them.
CREATE TYPE pgrecall.request AS (
    embedding vector,
    tenant text,
    filter jsonb,
    path jsonpath,
    uri_prefix text,
    documents uuid[],
    excluded uuid,
    required tsquery,
    terms tsquery[],
    weights real[],
    expected double precision[],
    condition text,
    matching bigint,
    bm25 text,
    names tsquery[],
    name_weights real[],
    holding tsquery
);

-- The generation that a collection is searched in. A caller that embedded its question for one
-- generation passes it, and is told if that is no longer the active one. One that was never active can be
-- searched by naming it, to be compared; with "anyhow" any one can.
CREATE FUNCTION pgrecall.active_generation(
    collection text, expected integer DEFAULT NULL, anyhow boolean DEFAULT false)
RETURNS pgrecall.target
LANGUAGE plpgsql STABLE AS $$
DECLARE
    found pgrecall.target;
BEGIN
    SELECT c.collection_id, g.generation_id, g.dimensions,
           ROW(g.storage, g.metric, g.dimensions, g.prefix)::pgrecall.storage, g.embedder, g.languages,
           g.chunk_count, g.rare_frequency, g.recall_curve, c.defaults,
           coalesce((SELECT i.indisvalid FROM pg_catalog.pg_index AS i
                      WHERE i.indexrelid = to_regclass(
                            'pgrecall.chunks_g' || g.generation_id || '_embedding')), false)
      INTO found
      FROM pgrecall.collections AS c
      JOIN pgrecall.generations AS g
        ON g.collection_id = c.collection_id
       AND g.generation_id = coalesce(expected, c.active_generation_id)
     WHERE c.name = collection
       AND (g.generation_id = c.active_generation_id OR g.activated_at IS NULL OR anyhow);
    IF found.generation_id IS NULL
       AND NOT EXISTS (SELECT FROM pgrecall.collections AS c WHERE c.name = collection) THEN
        RAISE EXCEPTION USING ERRCODE = 'PR001',
            MESSAGE = format('there is no collection named %s', to_json(collection));
    ELSIF found.generation_id IS NULL THEN
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

CREATE FUNCTION pgrecall.check_embedding(g pgrecall.target, query_embedding vector)
RETURNS void
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    square double precision;
BEGIN
    IF query_embedding IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'PR004', MESSAGE = 'the query embedding is missing';
    ELSIF vector_dims(query_embedding) <> g.dimensions THEN
        RAISE EXCEPTION USING ERRCODE = 'PR004', MESSAGE = format(
            'the query embedding has %s dimensions, the collection %s: embed it with %s',
            vector_dims(query_embedding), g.dimensions, g.embedder);
    END IF;
    -- pgvector adds squares up in single precision, in which they may vanish or overflow: then all rows would
    -- look alike.
    square := CASE (g.storage).type WHEN 'vector' THEN - (query_embedding <#> query_embedding)
              ELSE l2_norm(query_embedding::halfvec) END;
    IF square = 0 THEN
        RAISE EXCEPTION USING ERRCODE = 'PR004', MESSAGE = 'the query embedding is zero and points nowhere';
    ELSIF square = 'Infinity' THEN
        RAISE EXCEPTION USING ERRCODE = 'PR004',
            MESSAGE = 'the numbers of the query embedding are too large to be compared';
    END IF;
END
$$;

-- The documents below a uri prefix or among those named, as ids, so that an index finds their chunks;
-- NULL if they are too many for that, or not restricted.
CREATE FUNCTION pgrecall.few_documents(
    g pgrecall.target, uri_prefix text, documents uuid[], tenant text)
RETURNS uuid[]
LANGUAGE plpgsql STABLE AS $$
DECLARE
    few constant integer := 1000;
    found uuid[];
BEGIN
    IF uri_prefix IS NULL THEN
        RETURN documents;
    END IF;
    SELECT coalesce(array_agg(document_id), '{}') INTO found
      FROM (SELECT d.document_id FROM pgrecall.documents AS d
             WHERE d.collection_id = g.collection_id AND starts_with(d.uri, uri_prefix)
               AND (tenant IS NULL OR d.tenant_id = tenant)
               AND (documents IS NULL OR d.document_id = ANY (documents))
             LIMIT few + 1) AS below;
    RETURN CASE WHEN cardinality(found) <= few THEN found ELSE documents END;
END
$$;

CREATE FUNCTION pgrecall.request(
    g pgrecall.target, filter jsonb, tenant text, uri_prefix text, documents uuid[])
RETURNS pgrecall.request
LANGUAGE plpgsql STABLE AS $$
DECLARE
    r pgrecall.request;
BEGIN
    r.tenant := tenant;
    r.path := pgrecall.filter(filter);
    r.filter := CASE WHEN r.path IS NOT NULL THEN filter END;
    r.uri_prefix := nullif(uri_prefix, '');
    r.documents := pgrecall.few_documents(g, r.uri_prefix, documents, tenant);
    RETURN r;
END
$$;

-- The rows that may answer, as SQL; NULL if all of the generation may.
CREATE FUNCTION pgrecall.condition(g pgrecall.target, r pgrecall.request)
RETURNS text
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN nullif(concat_ws(' AND ',
        CASE WHEN r.tenant IS NOT NULL THEN 'c.tenant_id = ($1).tenant' END,
        CASE WHEN r.path IS NOT NULL THEN 'c.metadata @@ ($1).path' END,
        CASE WHEN r.path IS NOT NULL AND g.defaults ? 'metadata_indexes' THEN
            pgrecall.indexed_conditions(r.filter, g.defaults -> 'metadata_indexes') END,
        CASE WHEN r.uri_prefix IS NOT NULL THEN 'starts_with(c.uri, ($1).uri_prefix)' END,
        CASE WHEN r.documents IS NOT NULL THEN 'c.document_id = ANY (($1).documents)' END,
        CASE WHEN r.excluded IS NOT NULL THEN 'c.document_id <> ($1).excluded' END,
        CASE WHEN r.required IS NOT NULL THEN 'c.tsv @@ ($1).required' END), '');
END
$$;

-- About how many rows match a condition: its share of a thousand rows from all over the table. Exact enough,
-- since a search at the border between two strategies costs about as much with either.
--
-- Rows are taken by their places, so that the sample costs the same whatever the size of the table: one of
-- a page if there are pages enough, at irregular steps (by the golden ratio), since a table may have a rhythm.
CREATE FUNCTION pgrecall.matching(g pgrecall.target, r pgrecall.request, condition text)
RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
DECLARE
    wanted constant integer := 1000;
    chunks constant text := 'pgrecall.chunks_g' || g.generation_id;
    pages constant bigint := pg_relation_size(chunks::regclass) / current_setting('block_size')::integer;
    taken constant bigint := least(pages, wanted);
    places tid[];
    share double precision;
    counted bigint;
BEGIN
    places := ARRAY(
        SELECT format('(%s,%s)', floor((n + (n * 0.618034) % 1) * pages / taken), line)::tid
          FROM generate_series(0, taken - 1) AS n,
               generate_series(1, least(ceil(wanted::numeric / nullif(taken, 0)), 20)) AS line);
    EXECUTE format(
        'SELECT count(*) FILTER (WHERE %s)::float8 / nullif(count(*), 0) FROM %s AS c'
        ' WHERE c.ctid = ANY ($2)', condition, chunks) INTO share USING r, places;
    IF share IS NOT NULL THEN
        RETURN round(share * g.chunk_count);
    END IF;
    -- There is nothing here to sample: the rows may be on other servers. Counted, as far as that decides.
    EXECUTE format('SELECT count(*) FROM (SELECT FROM %s AS c WHERE %s LIMIT %s) AS m',
                   chunks, condition, pgrecall.few(g.chunk_count) + 1) INTO counted USING r;
    RETURN counted;
END
$$;

-- A request that is complete, with which and how many rows may answer it.
CREATE FUNCTION pgrecall.scoped(g pgrecall.target, r pgrecall.request)
RETURNS pgrecall.request
LANGUAGE plpgsql STABLE AS $$
BEGIN
    r.condition := pgrecall.condition(g, r);
    r.matching := CASE WHEN r.condition IS NULL THEN g.chunk_count
                  ELSE pgrecall.matching(g, r, r.condition) END;
    RETURN r;
END
$$;
