-- Search for everybody: search_vector, search_text, search, similar.
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
    nearest record;
BEGIN
    IF filter IS NULL AND tenant IS NULL AND uri_prefix IS NULL AND documents IS NULL AND NOT exact THEN
        RETURN QUERY EXECUTE format(
            'SELECT h.content, h.score, h.uri, h.title, h.metadata, h.tenant_id, h.document_id, h.ordinal,'
            '       h.start_offset, h.end_offset, h.page, h.headings, h.vector_score, h.text_score,'
            '       h.rank, h.text_rank, h.strategy, h.complete'
            '  FROM (SELECT *, row_number() OVER () AS rank, count(*) OVER () AS found'
            '          FROM pgrecall.search_vector_g%s($1, $2, $3, $4, $5)) AS h'
            ' WHERE h.found >= $3 OR h.strategy = ''exact''', g.generation_id)
            USING collection, query_embedding::vector, k, ef_search, recall;
        IF FOUND THEN
            RETURN;
        END IF;
    END IF;
    PERFORM pgrecall.check_k(k), pgrecall.check_embedding(g, query_embedding::vector);
    r := pgrecall.request(g, filter, tenant, uri_prefix, documents);
    r.embedding := query_embedding::vector;
    nearest := pgrecall.vector_arm(
        g, pgrecall.scoped(g, r), k, exact, pgrecall.ef_search(g.defaults, g.recall_curve, k, ef_search, recall));
    RETURN QUERY SELECT * FROM pgrecall.vector_answer(nearest.hits, nearest.strategy);
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

-- Both arms, fused (pgrecall.fuse).
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
