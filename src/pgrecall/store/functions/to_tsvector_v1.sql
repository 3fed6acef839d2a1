-- The lexemes of a chunk: its header (weight A) in front of its content (weight D).
-- Declared immutable so that it can feed a generated column: like the built-in
-- to_tsvector(regconfig, text), it depends on nothing but the named configuration.
CREATE FUNCTION pgrecall.to_tsvector(language text, header text, content text)
RETURNS tsvector
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    IF header = '' THEN
        RETURN pg_catalog.to_tsvector(language::regconfig, content);
    END IF;
    RETURN setweight(pg_catalog.to_tsvector(language::regconfig, header), 'A')
        || pg_catalog.to_tsvector(language::regconfig, content);
END
$$;
