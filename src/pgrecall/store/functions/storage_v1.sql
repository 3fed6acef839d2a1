-- How vectors are kept, indexed and compared: the only place that knows columns, operators, operator classes,
-- the expression in the index, scores, and which scans are rescored.
--
-- 'halfvec' and 'vector' are indexed as they are stored; 'bit' is stored as halfvec, and its signs are indexed.
-- With a prefix, only that many of the first dimensions are in the index. What an index of signs or prefixes
-- finds is rescored: all rows of its scan (ef_search, from the measured recall) are compared exactly.

-- The embedding of a question, of single precision: a name for the type that is found whatever the search_path is.
CREATE DOMAIN pgrecall.embedding AS vector;

-- Whether a stored vector has this length and can be compared with others.
CREATE FUNCTION pgrecall.usable(stored vector, dimensions integer)
RETURNS boolean
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN vector_dims(stored) = dimensions AND vector_norm(stored) > 0 AND vector_norm(stored) < 'Infinity';
END
$$;

CREATE TYPE pgrecall.storage AS (
    type text,
    metric text,
    dimensions integer,
    prefix integer
);

-- The type of the stored vectors, and the column that holds them.
CREATE FUNCTION pgrecall.stored_type(s pgrecall.storage)
RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE s.type WHEN 'vector' THEN 'vector' ELSE 'halfvec' END
$$;

CREATE FUNCTION pgrecall.stored_column(s pgrecall.storage)
RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE s.type WHEN 'vector' THEN 'embedding_full' ELSE 'embedding' END
$$;

-- Whether the index holds less than the vectors, so that its hits are compared again.
CREATE FUNCTION pgrecall.rescored(s pgrecall.storage)
RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT s.type = 'bit' OR s.prefix IS NOT NULL
$$;

-- What of a vector the index holds, as SQL. The casts tell the index the dimensions, which columns do not have.
CREATE FUNCTION pgrecall.indexed_part(s pgrecall.storage, vector text)
RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN s.type = 'bit' THEN 'binary_quantize(' || part || ')' ELSE part END
        || '::' || CASE WHEN s.type = 'bit' THEN 'bit' ELSE pgrecall.stored_type(s) END
        || '(' || coalesce(s.prefix, s.dimensions) || ')'
      FROM (SELECT CASE WHEN s.prefix IS NULL THEN vector
                        ELSE 'subvector(' || vector || ', 1, ' || s.prefix || ')' END AS part) AS p
$$;

-- The index, as CREATE INDEX wants it.
CREATE FUNCTION pgrecall.vector_index(s pgrecall.storage)
RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT 'USING hnsw ((' || pgrecall.indexed_part(s, pgrecall.stored_column(s)) || ') '
        || CASE WHEN s.type = 'bit' THEN 'bit_hamming_ops' ELSE s.type || '_' || s.metric || '_ops' END || ')'
$$;

-- The distance of a chunk c to a question (SQL of the type vector or the stored one): exactly, or as the index
-- knows it. Only the second matches the index.
CREATE FUNCTION pgrecall.distance(s pgrecall.storage, question text)
RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT '(c.' || pgrecall.stored_column(s)
        || CASE s.metric WHEN 'cosine' THEN ' <=> ' WHEN 'ip' THEN ' <#> ' ELSE ' <-> ' END
        || question || '::' || pgrecall.stored_type(s) || ')'
$$;

CREATE FUNCTION pgrecall.index_distance(s pgrecall.storage, question text)
RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT '(' || pgrecall.indexed_part(s, 'c.' || pgrecall.stored_column(s))
        || CASE WHEN s.type = 'bit' THEN ' <~> ' WHEN s.metric = 'cosine' THEN ' <=> '
                WHEN s.metric = 'ip' THEN ' <#> ' ELSE ' <-> ' END
        || pgrecall.indexed_part(s, question || '::' || pgrecall.stored_type(s)) || ')'
$$;

-- Higher for what is nearer: cosine similarity, inner product, or negative distance.
CREATE FUNCTION pgrecall.similarity(s pgrecall.storage, distance text)
RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE s.metric WHEN 'cosine' THEN '1 - ' ELSE '- ' END || distance
$$;

-- How many rows of an index scan are compared exactly to find so many: in relaxed order (with a condition)
-- twice as many, since the last ones need not be the nearest, and at least 200, since what does not match may stand
-- around the question (questions about code, of everything but code: 0.99 of the nearest, 0.83 with 20 rows);
-- where they are rescored, the breadth of the scan.
CREATE FUNCTION pgrecall.rows_to_compare(
    s pgrecall.storage, wanted integer, ef_search integer, conditional boolean)
RETURNS integer
LANGUAGE sql IMMUTABLE AS $$
    SELECT greatest(CASE WHEN conditional THEN greatest(2 * wanted, 200) ELSE wanted END,
                    CASE WHEN pgrecall.rescored(s) THEN ef_search END)
$$;

-- The nearest chunks with their distance, as SQL: those of an index scan, $taken of them, compared exactly;
-- without `taken`, those of all that the condition lets through. Of rows at equal distance the first by id are taken,
-- so that more hits begin with the fewer; an index alone gives any of them.
CREATE FUNCTION pgrecall.nearest_rows(
    s pgrecall.storage, generation integer, question text, condition text, wanted text, taken text)
RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT 'SELECT c.*, ' || pgrecall.distance(s, question) || ' AS distance FROM '
        || CASE WHEN taken IS NULL THEN rows || ordered
           -- In the strict order of the index they come as they are wanted.
           WHEN condition IS NULL AND NOT pgrecall.rescored(s)
           THEN rows || ' ORDER BY ' || pgrecall.index_distance(s, question) || ' LIMIT ' || wanted
           ELSE '(SELECT c.* FROM ' || rows || ' ORDER BY ' || pgrecall.index_distance(s, question)
                || ' LIMIT ' || taken || ') AS c' || ordered END
      FROM (SELECT 'pgrecall.chunks_g' || generation || ' AS c' || coalesce(' WHERE ' || condition, '') AS rows,
                   ' ORDER BY distance, c.document_id, c.ordinal LIMIT ' || wanted AS ordered) AS r
$$;
