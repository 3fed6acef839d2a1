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

-- The BM25 of a chunk c for $1, as SQL. It reads the chunk's words anew, which takes a hundred times as long as a
-- row of the index scan.
CREATE FUNCTION pgrecall.bm25_score(g pgrecall.target)
RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT 'CASE WHEN c.tsv @@ ($1).holding THEN - coalesce(' || pgrecall.bm25_distance(g) || ', 0)'
           ' ELSE 0 END'
$$;

-- What the names of $1 add to the score of a chunk c, as SQL.
CREATE FUNCTION pgrecall.name_score()
RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT '(SELECT coalesce(sum(weight), 0)'
           ' FROM unnest(($1).names, ($1).name_weights) AS n (name, weight) WHERE c.tsv @@ name)'
$$;

-- The best rows by the index, as SQL, and rows that hold a name. The index scan knows the scores of its rows; it
-- must be one, for which sorts are switched off (pgrecall.bm25_arm).
CREATE FUNCTION pgrecall.bm25_scan(g pgrecall.target, r pgrecall.request, condition text)
RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    several constant integer := 50;
    partition constant text := 'pgrecall.chunks_g' || g.generation_id;
    home constant text := (SELECT extnamespace::regnamespace FROM pg_catalog.pg_extension
                            WHERE extname = 'pg_textsearch');
    best text := format(
        'SELECT c.*, - %s.bm25_get_current_score() AS bm25 FROM %s AS c%s ORDER BY %s LIMIT $2',
        home, partition, coalesce(' WHERE ' || condition, ''), pgrecall.bm25_distance(g));
BEGIN
    IF r.names IS NULL THEN
        RETURN best;
    END IF;
    RETURN format(
        'WITH best AS MATERIALIZED (%s) SELECT * FROM best UNION ALL SELECT c.*, %s'
        '  FROM (SELECT c.* FROM %s AS c WHERE c.tsv @@ ANY (($1).names)%s'
        '           AND NOT EXISTS (SELECT FROM best AS b WHERE b.tenant_id = c.tenant_id'
        '                              AND b.document_id = c.document_id AND b.ordinal = c.ordinal)'
        '         LIMIT %s) AS c',
        best, pgrecall.bm25_score(g), partition, coalesce(' AND ' || condition, ''), several);
END
$$;

-- The statement of the text arm: $1 is the request, $2 how many. Few matching rows are ranked one by one; else
-- the index is scanned until enough match. With m of n rows matching, that takes 200 us for each of m, or 8 us
-- for each of about 100 n / m.
CREATE FUNCTION pgrecall.bm25_sql(g pgrecall.target, r pgrecall.request)
RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    few constant integer := greatest(200, 2 * sqrt(g.chunk_count))::integer;
    rows text;
BEGIN
    IF r.condition IS NOT NULL AND r.matching <= few THEN
        rows := format('SELECT c.*, %s AS bm25 FROM pgrecall.chunks_g%s AS c WHERE c.tsv @@ ($1).holding AND %s',
                       pgrecall.bm25_score(g), g.generation_id, r.condition);
    ELSE
        rows := pgrecall.bm25_scan(g, r, r.condition);
    END IF;
    RETURN format(
        'SELECT array_agg(hit ORDER BY (hit).text_score DESC, (hit).document_id, (hit).ordinal)'
        '  FROM (SELECT hit FROM (SELECT ROW(%s)::pgrecall.hit AS hit FROM (%s) AS c OFFSET 0) AS ranked'
        '         WHERE (hit).text_score > 0'
        '         ORDER BY (hit).text_score DESC, (hit).document_id, (hit).ordinal LIMIT $2) AS best',
        pgrecall.hit_columns(
            g.storage, pgrecall.distance(g.storage, '($1).embedding'),
            'c.bm25 + ' || pgrecall.name_score()),
        rows);
END
$$;

CREATE FUNCTION pgrecall.bm25_arm(g pgrecall.target, r pgrecall.request, wanted integer)
RETURNS pgrecall.hit[]
LANGUAGE plpgsql STABLE
SET enable_sort = off AS $$
DECLARE
    hits pgrecall.hit[];
BEGIN
    EXECUTE pgrecall.bm25_sql(g, r) INTO hits USING r, wanted;
    RETURN hits;
END
$$;

-- The hits of the vector arm with their text scores, given those of the text arm.
CREATE FUNCTION pgrecall.bm25_scored(
    g pgrecall.target, r pgrecall.request, hits pgrecall.hit[], by_words pgrecall.hit[])
RETURNS pgrecall.hit[]
LANGUAGE plpgsql STABLE AS $$
DECLARE
    scores double precision[];
BEGIN
    EXECUTE format(
        'SELECT array_agg(coalesce(f.text_score, (SELECT %s + %s FROM pgrecall.chunks_g%s AS c'
        '             WHERE c.tenant_id = h.tenant_id AND c.document_id = h.document_id'
        '               AND c.ordinal = h.ordinal)) ORDER BY h.place)'
        '  FROM (SELECT place, ($2[place]).* FROM generate_subscripts($2, 1) AS place) AS h'
        '  LEFT JOIN unnest($3) AS f USING (tenant_id, document_id, ordinal)',
        pgrecall.bm25_score(g), pgrecall.name_score(), g.generation_id) INTO scores USING r, hits, by_words;
    FOR i IN 1 .. coalesce(cardinality(hits), 0) LOOP
        hits[i].text_score := scores[i];
    END LOOP;
    RETURN hits;
END
$$;
