-- The text arm by the BM25 index of an extension, where a collection has chosen one (defaults.text_search).
--
-- pg_textsearch (PostgreSQL 17 and newer) ranks by its own index. It is given the lexemes of `tsv`, so that
-- languages, headers, names and pairs of characters are what they are in the built-in arm, and one index serves
-- all languages. Phrases, exclusions and filters stay conditions; a name (ERR_CONN_RESET) counts like one
-- more word that stands there once.

-- The lexemes of a chunk as a text, each as often as it occurs: what the index is on.
CREATE FUNCTION pgrecall.occurrences(words tsvector)
RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN (SELECT string_agg(repeat(lexeme || ' ', cardinality(positions)), '') FROM unnest(words));
END
$$;

-- Whether the words of a generation are ranked by pg_textsearch: chosen, and its index is there.
CREATE FUNCTION pgrecall.has_bm25(g pgrecall.target)
RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT coalesce(g.defaults ->> 'text_search' = 'pg_textsearch', false)
       AND to_regclass('pgrecall.chunks_g' || g.generation_id || '_bm25') IS NOT NULL
$$;

-- A request with its terms as the index is asked: words in r.bm25, as often as the question says them, names in
-- r.names, and both as one tsquery in r.holding. r.terms stays empty, which the built-in arm ranks by.
CREATE FUNCTION pgrecall.with_bm25(
    g pgrecall.target, r pgrecall.request, plain text, terms tsquery[], weights real[])
RETURNS pgrecall.request
LANGUAGE plpgsql STABLE AS $$
BEGIN
    SELECT string_agg(repeat(lexeme || ' ', times), '') INTO r.bm25
      FROM (SELECT q.lexeme, max(cardinality(q.positions)) AS times
              FROM unnest(g.languages) AS language,
                   unnest(pgrecall.to_tsvector(language, '', left(plain, 100000))) AS q
             GROUP BY q.lexeme) AS asked;
    SELECT array_agg(term) FILTER (WHERE term::text LIKE '%:*'),
           array_agg(weight) FILTER (WHERE term::text LIKE '%:*'),
           string_agg('(' || term::text || ')', ' | ')::tsquery
      INTO r.names, r.name_weights, r.holding
      FROM unnest(terms, weights) AS t (term, weight);
    RETURN r;
END
$$;

-- How far a chunk c is from the words of $1, as SQL: negative BM25.
CREATE FUNCTION pgrecall.bm25_distance(g pgrecall.target)
RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT format(
        'pgrecall.occurrences(c.tsv) OPERATOR(%1$s.<@>) %1$s.to_bm25query(($1).bm25, %2$L)',
        extnamespace::regnamespace, 'pgrecall.chunks_g' || g.generation_id || '_bm25')
      FROM pg_catalog.pg_extension WHERE extname = 'pg_textsearch'
$$;

-- The text score of a chunk c for $1, as SQL: BM25 of the words, and the weight of each name that is there.
CREATE FUNCTION pgrecall.bm25_score(g pgrecall.target)
RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT '(- coalesce(' || pgrecall.bm25_distance(g) || ', 0) + (SELECT coalesce(sum(weight), 0)'
           ' FROM unnest(($1).names, ($1).name_weights) AS n (name, weight) WHERE c.tsv @@ name))'
$$;

-- The rows whose words answer best, as SQL: $1 is the request, $2 how many. `exact` ranks all that match and
-- hold a word; else the index gives the best of them, and to these come rows that hold a name.
CREATE FUNCTION pgrecall.bm25_sql(
    g pgrecall.target, r pgrecall.request, condition text, exact boolean)
RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    several constant integer := 400;
    partition text := 'pgrecall.chunks_g' || g.generation_id;
    rows text;
BEGIN
    IF exact THEN
        rows := format('SELECT c.* FROM %s AS c WHERE c.tsv @@ ($1).holding%s',
                       partition, coalesce(' AND ' || condition, ''));
    ELSE
        rows := format('(SELECT c.* FROM %s AS c%s ORDER BY %s LIMIT $2)',
                       partition, coalesce(' WHERE ' || condition, ''), pgrecall.bm25_distance(g));
        IF r.names IS NOT NULL THEN
            rows := rows || format(
                ' UNION ALL (SELECT c.* FROM %s AS c'
                ' WHERE c.tsv @@ ANY (($1).names)%s LIMIT %s)',
                partition, coalesce(' AND ' || condition, ''), several);
        END IF;
    END IF;
    RETURN format(
        'SELECT array_agg(hit ORDER BY (hit).text_score DESC, (hit).document_id, (hit).ordinal)'
        '  FROM (SELECT hit FROM (SELECT DISTINCT ON (c.tenant_id, c.document_id, c.ordinal)'
        '               ROW(%s)::pgrecall.hit AS hit FROM (%s) AS c OFFSET 0) AS ranked'
        '         WHERE (hit).text_score > 0'
        '         ORDER BY (hit).text_score DESC, (hit).document_id, (hit).ordinal LIMIT $2) AS best',
        pgrecall.hit_columns(
            g.metric, pgrecall.distance(g.metric, g.dimensions, '($1).embedding', true),
            pgrecall.bm25_score(g)),
        rows);
END
$$;

-- The statement that the text arm runs: few matching rows are ranked one by one.
CREATE FUNCTION pgrecall.bm25_plan(g pgrecall.target, r pgrecall.request)
RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    condition text := pgrecall.condition(g, r);
    few constant integer := pgrecall.few(g.chunk_count);
BEGIN
    RETURN pgrecall.bm25_sql(g, r, condition, condition IS NOT NULL
        AND pgrecall.matching(g, r, condition, few) <= few);
END
$$;

CREATE FUNCTION pgrecall.bm25_arm(g pgrecall.target, r pgrecall.request, wanted integer)
RETURNS pgrecall.hit[]
LANGUAGE plpgsql STABLE AS $$
DECLARE
    hits pgrecall.hit[];
BEGIN
    EXECUTE pgrecall.bm25_plan(g, r) INTO hits USING r, wanted;
    RETURN hits;
END
$$;

-- Hits of the vector arm with their text scores.
CREATE FUNCTION pgrecall.bm25_scored(g pgrecall.target, r pgrecall.request, hits pgrecall.hit[])
RETURNS pgrecall.hit[]
LANGUAGE plpgsql STABLE AS $$
DECLARE
    scores double precision[];
BEGIN
    EXECUTE format(
        'SELECT array_agg((SELECT %s FROM pgrecall.chunks_g%s AS c WHERE c.tenant_id = h.tenant_id'
        '   AND c.document_id = h.document_id AND c.ordinal = h.ordinal) ORDER BY place)'
        '  FROM unnest($2) WITH ORDINALITY AS h (content, score, uri, title, metadata, tenant_id,'
        '       document_id, ordinal, start_offset, end_offset, page, headings, vector_score, text_score,'
        '       vector_rank, text_rank, strategy, complete, place)',
        pgrecall.bm25_score(g), g.generation_id) INTO scores USING r, hits;
    FOR i IN 1 .. coalesce(cardinality(hits), 0) LOOP
        hits[i].text_score := scores[i];
    END LOOP;
    RETURN hits;
END
$$;
