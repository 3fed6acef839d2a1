-- The recall of a generation's index, measured: for how much ef_search, which share of the ten truly
-- nearest rows is found. The curve has a value for each step of ef_search; a search looks up the step that
-- reaches the recall it promises (pgrecall.breadth).
--
-- Asked are the embeddings that the caller gives: of questions, or of short pieces of the stored texts, which
-- are as hard to find neighbours for. Who has no embedder at hand gets stand-ins, made of stored embeddings; as
-- they are, these would be much easier than questions. Rows at equal distance count as equally right.

CREATE FUNCTION pgrecall.steps()
RETURNS integer[]
LANGUAGE sql IMMUTABLE AS $$
    SELECT '{40,64,100,160,250,400,640,1000}'::integer[]
$$;

-- Embeddings to ask with: stored ones from all over the table, each moved by 0.75 of its length, or by all of it,
-- in the direction from one stored embedding to another. So they lie where questions do: not in the graph, but
-- spread as the data are. Noise in all directions alike is easier to find neighbours for than questions were.
CREATE FUNCTION pgrecall.recall_questions(g pgrecall.target, wanted integer)
RETURNS vector[]
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    stored vector[];
    n integer;
    percent constant double precision := least(100, 100.0 * 60 * wanted / greatest(g.chunk_count, 1));
BEGIN
    EXECUTE format(
        'SELECT array_agg(embedding) FROM (SELECT c.%s::vector AS embedding'
        '  FROM pgrecall.chunks_g%s AS c TABLESAMPLE system (%s)'
        ' ORDER BY c.content_hash LIMIT $1) AS sample',
        pgrecall.stored_column(g.storage), g.generation_id, percent)
       INTO stored USING 3 * wanted;
    n := cardinality(stored) / 3;
    RETURN ARRAY(
        SELECT v + l2_normalize(stored[n + i] - stored[2 * n + i])
                 * array_fill((vector_norm(v) * (0.75 + 0.25 * (i % 2)))::real, ARRAY[g.dimensions])::vector
          FROM generate_series(1, n) AS i, LATERAL (SELECT stored[i]) AS u (v));
END
$$;

-- The distances of the ten rows that a search with the index finds, for the questions at these places.
CREATE FUNCTION pgrecall.found_distances(
    g pgrecall.target, questions vector[], places integer[], ef_search integer)
RETURNS TABLE (place integer, distances double precision[])
LANGUAGE plpgsql STABLE AS $$
DECLARE
    statement text := format(
        'SELECT array_agg(distance ORDER BY distance) FROM (%s) AS nearest',
        pgrecall.nearest_rows(g.storage, g.generation_id, '$1', NULL, '10', '$2'));
BEGIN
    PERFORM set_config('hnsw.ef_search', ef_search::text, true);
    FOREACH place IN ARRAY places LOOP
        EXECUTE statement INTO distances
          USING questions[place], pgrecall.rows_to_compare(g.storage, 10, ef_search, false);
        RETURN NEXT;
    END LOOP;
END
$$;

-- How far away the tenth nearest row truly is, for each question. `bounds` are distances that the tenth is
-- known not to exceed, so that one pass over the table answers all questions. Workers share it: to the planner,
-- which does not know that next to nothing comes back, they look too dear.
CREATE FUNCTION pgrecall.true_distances(
    g pgrecall.target, questions vector[], bounds double precision[])
RETURNS double precision[]
LANGUAGE plpgsql STABLE
SET parallel_tuple_cost = 0 AS $$
DECLARE
    distance text := pgrecall.distance(g.storage, 'q.embedding');
    tenth double precision[];
BEGIN
    EXECUTE format(
        'SELECT array_agg(d ORDER BY n) FROM ('
        ' SELECT n, (array_agg(%1$s ORDER BY %1$s))[10] AS d'
        '   FROM pgrecall.chunks_g%2$s AS c,'
        '        unnest($1::%3$s[], $2) WITH ORDINALITY AS q (embedding, bound, n)'
        '  WHERE %1$s <= q.bound GROUP BY n) AS tenth',
        distance, g.generation_id, pgrecall.stored_type(g.storage))
       INTO tenth USING questions, bounds;
    RETURN tenth;
END
$$;

-- Measures, stores and returns the curve; NULL where there is no index, or so few chunks that searches
-- are exact. A question that has found its ten is not asked again with more breadth, which would find them too:
-- most do at the smallest steps, and the greatest take most of the time.
CREATE FUNCTION pgrecall.measure_recall(
    collection text, questions integer DEFAULT 40, embeddings vector[] DEFAULT NULL,
    generation integer DEFAULT NULL)
RETURNS real[]
LANGUAGE plpgsql VOLATILE
SET hnsw.iterative_scan = 'off'
SET hnsw.ef_search = 100
SET enable_sort = off AS $$
DECLARE
    g pgrecall.target := pgrecall.active_generation(collection, generation, anyhow => true);
    equal constant double precision := 1e-6;
    asked vector[];
    tenth double precision[];
    hits integer[];
    curve real[] := '{}';
    step integer;
    answer record;
BEGIN
    IF NOT g.indexed OR g.chunk_count <= 2000 THEN
        RETURN NULL;
    END IF;
    asked := coalesce(embeddings, pgrecall.recall_questions(g, questions));
    tenth := pgrecall.true_distances(g, asked, ARRAY(
        SELECT coalesce(distances[10] + equal, 'infinity')
          FROM pgrecall.found_distances(g, asked, ARRAY(SELECT generate_subscripts(asked, 1)), 100)
         ORDER BY place));
    hits := array_fill(0, ARRAY[cardinality(asked)]);
    FOREACH step IN ARRAY pgrecall.steps() LOOP
        FOR answer IN
            SELECT place, distances FROM pgrecall.found_distances(g, asked, ARRAY(
                SELECT n::integer FROM unnest(hits) WITH ORDINALITY AS h (hit, n) WHERE hit < 10), step)
        LOOP
            hits[answer.place] := (SELECT count(*) FROM unnest(answer.distances) AS distance
                                    WHERE distance <= tenth[answer.place] + equal);
        END LOOP;
        curve := curve || (SELECT avg(hit) / 10 FROM unnest(hits) AS hit)::real;
    END LOOP;
    UPDATE pgrecall.generations
       SET recall_curve = curve, recall_chunks = g.chunk_count
     WHERE generation_id = g.generation_id;
    RETURN curve;
END
$$;
