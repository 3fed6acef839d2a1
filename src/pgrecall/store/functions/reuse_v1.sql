-- Vectors that were paid for already, by the hash of the text that was embedded: those that wait in
-- paid_vectors for their document (generation NULL), and those of every generation of the same embedder and
-- dimensions, whatever collection it belongs to. Where full precision is wanted, only what was stored so; else
-- full vectors are as good as half ones, except where they wait for a document of their own. A vector that no search could find, or that stands beside
-- another text than its hash says, is not handed on.
CREATE FUNCTION pgrecall.stored_vectors(
    embedder text, dimensions integer, hashes bytea[], precise boolean)
RETURNS TABLE (content_hash bytea, embedding vector, generation_id integer)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    sought bytea[] := hashes;
    keys bytea[];
    vectors vector[];
    source record;
BEGIN
    FOR source IN
        SELECT NULL::integer AS generation, 'pgrecall.paid_vectors' AS name
        UNION ALL
        -- The newest first: texts come back where they were last.
        SELECT * FROM (
            -- As text: a table that is dropped in between would be written as a number.
            SELECT g.generation_id, 'pgrecall.chunks_g' || g.generation_id AS name
              FROM pgrecall.generations AS g
             WHERE g.embedder = stored_vectors.embedder AND g.dimensions = stored_vectors.dimensions
               AND (g.storage = 'vector' OR NOT precise)
             ORDER BY g.generation_id DESC) AS same
         WHERE to_regclass(same.name) IS NOT NULL
    LOOP
        EXIT WHEN cardinality(sought) = 0;
        BEGIN
            -- From the partition itself: before its first ANALYZE, a condition on the generation would look
            -- so selective to the planner that it would scan the whole partition for it.
            EXECUTE format(
                'SELECT array_agg(f.content_hash), array_agg(f.embedding) FROM ('
                'SELECT DISTINCT ON (content_hash) content_hash, %2$s AS embedding FROM %1$s'
                ' WHERE content_hash = ANY($1) AND vector_dims(%2$s) = $2 AND vector_norm(%2$s) > 0%3$s) AS f',
                source.name,
                CASE WHEN precise THEN 'embedding_full'
                     WHEN source.generation IS NULL THEN 'embedding::vector'
                     ELSE 'coalesce(embedding::vector, embedding_full)' END,
                CASE WHEN source.generation IS NULL
                     THEN ' AND embedder = $3 AND dimensions = $2'
                     ELSE ' AND content_hash = substr(sha256(convert_to(CASE header WHEN '''' THEN content'
                          ' ELSE header || E''\n\n'' || content END, ''UTF8'')), 1, 16)' END)
               INTO keys, vectors USING sought, dimensions, embedder;
        EXCEPTION WHEN undefined_table THEN
            CONTINUE; -- dropped this moment
        END;
        IF keys IS NOT NULL THEN
            RETURN QUERY SELECT k, v, source.generation FROM unnest(keys, vectors) AS found (k, v);
            sought := ARRAY(SELECT unnest(sought) EXCEPT SELECT unnest(keys));
        END IF;
    END LOOP;
END
$$;
