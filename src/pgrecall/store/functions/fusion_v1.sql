-- Two arms as one answer: their candidates are united, each has both scores, and these are combined:
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

-- A score as its place between three standard deviations below and above the mean, from 0 to 1; 0.5 where all are
-- equal.
CREATE FUNCTION pgrecall.within(
    score double precision, mean double precision, deviation double precision)
RETURNS double precision
LANGUAGE sql IMMUTABLE AS $$
    SELECT least(1, greatest(0, 0.5 + coalesce((score - mean) / nullif(6 * deviation, 0), 0)))
$$;
