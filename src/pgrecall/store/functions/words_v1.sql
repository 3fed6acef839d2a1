-- How text becomes lexemes, for what is stored and for what is asked alike.

-- A character of a script that writes no spaces: Thai, Lao, Burmese, Khmer, Japanese, Chinese.
CREATE FUNCTION pgrecall.unspaced()
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT '[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff'
           '\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003134f]'
$$;

-- Runs of such characters as overlapping pairs: "abcd" becomes "ab cd bc". The pairs that begin at even places
-- stand where the run stood, the others at the end.
CREATE FUNCTION pgrecall.pairs(body text)
RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    one constant text := pgrecall.unspaced();
    -- The last character of an odd run stands in the pair before it.
    last constant text := '(?:' || one || '(?!' || one || '))?';
    pair constant text := '(' || one || '{2})' || last;
    -- One that stands alone, as in 2024年5月, is a word: beside letters and digits it would be part of theirs.
    alone constant text := '(' || one || ')';
    runs constant text := regexp_replace(body, '(?:(?!' || one || ').)+', ' ', 'g');
BEGIN
    RETURN regexp_replace(body, pair || '|' || alone, ' \1\2 ', 'g') || ' '
        || regexp_replace(regexp_replace(runs, '(^| )' || one || last, ' ', 'g'), pair, ' \1 ', 'g');
END
$$;

-- A text without punctuation beyond ASCII, and with each character written in one way (NFKC: accents with their
-- letters, no ligatures, no full width). Whether Postgres takes such characters for letters depends on the server's
-- locale: in "C", “Europa” with its quotation marks would be a word. Soft hyphens go, and ’ is an apostrophe.
CREATE FUNCTION pgrecall.plain(body text)
RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    body := regexp_replace(replace(replace(body, U&'\2019', ''''), U&'\00ad', ''),
        '[\u00a0-\u00a9\u00ab\u00ac\u00ae-\u00b4\u00b6-\u00b9\u00bb-\u00bf\u00d7\u00f7\u037e\u0387\u055a-\u055f\u0589'
        '\u058a\u05be\u060c\u061b\u061f\u066a-\u066d\u06d4\u0964\u0965\u2000-\u200b\u200e-\u207f\u20a0-\u20cf\u2120'
        '\u2122\u2190-\u25ff\u2700-\u27ff\u2900-\u29ff\u2e00-\u2e7f\u3000-\u3004\u3008-\u3030\ufe0f\uff5f-\uff65]+',
        ' ', 'g');
    RETURN CASE WHEN body IS NFKC NORMALIZED THEN body ELSE normalize(body, NFKC) END;
END
$$;

-- The words of a text, ready for a text search configuration. Punctuation inside names becomes space, so that
-- ERR_CONN_RESET, os.path and v1.2.3 are the words that they are made of (the parser of Postgres would take
-- some of them for hosts, files and versions, and find them only whole).
CREATE FUNCTION pgrecall.words(body text)
RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF octet_length(body) > length(body) THEN
        body := pgrecall.plain(body);
        IF body ~ pgrecall.unspaced() THEN
            body := pgrecall.pairs(body);
        END IF;
    END IF;
    -- One replace() a character is a sixth of the time that translate() takes.
    RETURN replace(replace(replace(replace(replace(replace(replace(
           body, '.', ' '), '_', ' '), '/', ' '), '\', ' '), ':', ' '), '@', ' '), '-', ' ');
END
$$;

-- The lexemes of a chunk: its header (weight A) in front of its content (weight D).
-- Declared immutable so that it can feed a generated column: like the built-in
-- to_tsvector(regconfig, text), it depends on nothing but the named configuration.
CREATE FUNCTION pgrecall.to_tsvector(language text, header text, content text)
RETURNS tsvector
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    IF header = '' THEN
        RETURN pg_catalog.to_tsvector(language::regconfig, pgrecall.words(content));
    END IF;
    RETURN setweight(pg_catalog.to_tsvector(language::regconfig, pgrecall.words(header)), 'A')
        || pg_catalog.to_tsvector(language::regconfig, pgrecall.words(content));
END
$$;
