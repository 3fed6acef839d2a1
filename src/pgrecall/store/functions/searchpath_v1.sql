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
                AND proname IN ('search', 'search_text', 'search_vector', 'similar', 'explain',
                                'measure_recall', 'create_nearest', 'stored_vectors', 'usable') LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, pgrecall, %s', f, home);
    END LOOP;
END
$$;
