-- The words of a question: which count how much, and which rows hold enough of them to be ranked.

-- Words that must stand one after the other. Of pairs of characters, all must be there: their order in
-- what is stored depends on where the text around them begins. A single one is found in the pairs that it begins.
CREATE FUNCTION pgrecall.phrase(language text, phrase text)
RETURNS tsquery
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN $2 ~ pgrecall.unspaced()
           THEN regexp_replace(plainto_tsquery($1::regconfig, pgrecall.words($2))::text,
                               '''(' || pgrecall.unspaced() || ')''', '''\1'':*', 'g')::tsquery
           ELSE phraseto_tsquery($1::regconfig, pgrecall.words($2)) END
$$;

-- A question without its exclusions, and its phrases and exclusions as one tsquery that rows must satisfy:
-- several words "in quotation marks" must stand there word by word, and what follows a minus sign must
-- not. In more than sixteen words, or a thousand characters, quotation marks and dashes are prose, and
-- require nothing: Postgres takes no phrase of many thousand words, nor many thousand phrases in any time. A
-- word is looked up as each of the languages of a collection would store it.
CREATE FUNCTION pgrecall.split_question(
    languages text[], question text, OUT plain text, OUT required tsquery)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    quoted constant text := '(^|[\s(])(-?)"([^"]*)"';
    -- Three letters at least: "tar -x" is no exclusion. A syllable of Hangul has two or three.
    excluded constant text :=
        '(^|\s)-((?:[[:alpha:]][[:alnum:]_]{2}|[\uac00-\ud7a3]{2}|' || pgrecall.unspaced() || ')[^\s"]*)';
    several constant text := '\w\W+\w|' || pgrecall.unspaced() || '{3}';
    sign text;
    phrase text;
    one tsquery;
BEGIN
    question := translate(question, '“”„«»', '"""""');
    plain := question;
    IF length(question) > 1000 OR strpos(question, '"') = 0 AND strpos(question, '-') = 0
       OR question ~ '(\S+\s+){16}\S' THEN
        RETURN;
    END IF;
    FOR sign, phrase IN
        SELECT m[2], m[3] FROM regexp_matches(question, quoted, 'g') AS m
        UNION ALL
        SELECT '-', m[2] FROM regexp_matches(regexp_replace(question, quoted, ' ', 'g'), excluded, 'g') AS m
    LOOP
        SELECT string_agg(DISTINCT '(' || q::text || ')', ' | ')::tsquery INTO one
          FROM unnest(languages) AS language,
               pgrecall.phrase(language, phrase) AS q
         WHERE pgrecall.to_tsvector(language, '', phrase) <> '';
        CONTINUE WHEN one IS NULL OR sign = '' AND phrase !~ several;
        one := CASE WHEN sign = '-' THEN !! one ELSE one END;
        required := CASE WHEN required IS NULL THEN one ELSE required && one END;
    END LOOP;
    plain := regexp_replace(question, quoted || '|' || excluded, '\1\4 ' , 'g');
    plain := (SELECT concat_ws(' ', plain, string_agg(m[3], ' '))
                FROM regexp_matches(question, quoted, 'g') AS m WHERE m[2] = '');
END
$$;

-- The words of a question as terms, rarest first, with the number of chunks that are expected to hold
-- each, and its weight.
--
-- A chunk's text score is the sum over the terms of weight * ts_rank(tsv, term), with all label weights 1
-- and rank normalisation 1 (divides by 1 + log(length)). The weight is idf * times that the question
-- says it; idf = ln(1 + (N - df + 0.5) / (df + 0.5)), as in BM25. Document frequencies are in
-- pgrecall.lexemes; a term that is not listed there is rarer than those that are, and counts as half as
-- frequent as the rarest of them.
-- Names such as ERR_CONN_RESET, os.path or v1.2.3 count once more as a whole, the last part as a prefix.
CREATE FUNCTION pgrecall.question_terms(
    g pgrecall.target, plain text,
    OUT terms tsquery[], OUT weights real[], OUT expected double precision[])
LANGUAGE plpgsql STABLE AS $$
DECLARE
    total constant double precision := greatest(g.chunk_count, 1);
    unlisted constant double precision := greatest(g.rare_frequency / 2, 1 / total);
    at_most constant integer := 64;
    name constant text :=
        '[[:alnum:]]+(?:[._/\\:@]+[[:alnum:]]+)+|[[:alpha:]]+[[:digit:]][[:alnum:]]*';
BEGIN
    -- A tsvector takes 1 MB; so long a question has its rarest words long before.
    plain := left(plain, 100000);
    WITH asked AS (
        SELECT q.lexeme, max(cardinality(q.positions)) AS times
          FROM unnest(g.languages) AS language,
               unnest(pgrecall.to_tsvector(language, '', plain)) AS q
         GROUP BY q.lexeme
    ), counted AS (
        -- A character that stands alone where no spaces are written is found in the pairs that it begins.
        SELECT a.lexeme, a.times, a.begins, coalesce(
                   CASE WHEN a.begins THEN
                       (SELECT least(sum(l.frequency), 1) FROM pgrecall.lexemes AS l
                         WHERE l.generation_id = g.generation_id AND starts_with(l.lexeme, a.lexeme))
                   ELSE
                       (SELECT l.frequency FROM pgrecall.lexemes AS l
                         WHERE l.generation_id = g.generation_id AND l.lexeme = a.lexeme)
                   END, unlisted) AS frequency
          FROM (SELECT *, octet_length(lexeme) > 1 AND length(lexeme) = 1 AND lexeme ~ pgrecall.unspaced() AS begins
                  FROM asked) AS a
    ), words AS (
        SELECT ('''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || ''''
                || CASE WHEN begins THEN ':*' ELSE '' END)::tsquery AS term,
               times, frequency
          FROM counted
    ), names AS (
        -- As rare as the rarest of its parts.
        -- A dictionary may know several forms of the last part, which are taken as they are.
        SELECT (whole || CASE WHEN whole LIKE '%''' THEN ':*' ELSE '' END)::tsquery AS term,
               1 AS times, part.frequency
          FROM regexp_matches(plain, name, 'g') AS m,
               unnest(g.languages) AS language,
               LATERAL (SELECT phraseto_tsquery(language::regconfig, pgrecall.words(m[1]))::text) AS w (whole),
               LATERAL (SELECT min(frequency) FROM counted
                         WHERE lexeme = ANY (tsvector_to_array(
                               pgrecall.to_tsvector(language, '', m[1])))) AS part (frequency)
         WHERE length(m[1]) BETWEEN 3 AND 200 AND part.frequency IS NOT NULL
         LIMIT 16
    ), ranked AS (
        SELECT *, row_number() OVER (ORDER BY frequency, term::text) AS place
          FROM (SELECT * FROM words UNION SELECT * FROM names) AS every
    )
    SELECT array_agg(term ORDER BY place),
           array_agg(times * ln(1 + (1 - frequency + 0.5 / total) / (frequency + 0.5 / total))
                     ORDER BY place)::real[],
           array_agg(frequency * total ORDER BY place)
      INTO terms, weights, expected
      FROM ranked
     WHERE place <= at_most;
END
$$;

-- Which rows to rank: those that hold enough of the weight of a question, as one tsquery.
--
-- The rarest terms decide a ranking: rows that hold one of them are candidates, terms being taken in that order
-- until `enough` rows are expected. Where the next term is so common that it would bring many more, rows must
-- hold several of the next terms: sets of four of them are taken by their weight, heaviest first, until enough
-- rows are expected to hold one of the sets whole (as WAND does with its threshold: Broder et al., 2003,
-- https://doi.org/10.1145/956863.956944).
CREATE FUNCTION pgrecall.candidates(
    terms tsquery[], weights real[], expected double precision[], total double precision,
    enough double precision)
RETURNS tsquery
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    -- Words stand together more often than chance has it.
    together constant double precision := 3;
    alone integer := 0;
    held double precision := 0;
    found text;
    n integer;
BEGIN
    WHILE held < enough AND held + expected[alone + 1] <= 2 * enough LOOP
        alone := alone + 1;
        held := held + expected[alone];
        found := concat_ws(' | ', found, '(' || terms[alone]::text || ')');
    END LOOP;
    n := least(cardinality(terms) - alone, 4);
    IF n > 0 AND held < enough THEN
        WITH sets AS (
            SELECT members, sum(weights[alone + i]) AS weight,
                   total * exp(sum(ln(least(expected[alone + i] / total, 1))))
                         * CASE WHEN count(*) > 1 THEN together ELSE 1 END AS rows
              FROM generate_series(1, (1 << n) - 1) AS s (members), generate_series(1, n) AS i
             WHERE members & (1 << (i - 1)) <> 0
             GROUP BY members
        ), taken AS (
            SELECT members, held + coalesce(sum(rows) OVER (ORDER BY weight DESC, members
                       ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
              FROM sets
        )
        SELECT concat_ws(' | ', found, string_agg(
                   '(' || (SELECT string_agg('(' || terms[alone + i]::text || ')', ' & ')
                             FROM generate_series(1, n) AS i
                            WHERE t.members & (1 << (i - 1)) <> 0) || ')', ' | '))
          INTO found
          FROM taken AS t
         WHERE t.before < enough
           -- A set that contains another one adds no rows.
           AND NOT EXISTS (SELECT FROM taken AS inner_set
                            WHERE inner_set.before < enough AND inner_set.members <> t.members
                              AND inner_set.members & t.members = inner_set.members);
    END IF;
    RETURN found::tsquery;
END
$$;

-- A request with the words of a question: its phrases and exclusions as conditions, the rest as terms.
CREATE FUNCTION pgrecall.with_question(g pgrecall.target, r pgrecall.request, question text)
RETURNS pgrecall.request
LANGUAGE plpgsql STABLE AS $$
DECLARE
    split record := pgrecall.split_question(g.languages, coalesce(question, ''));
    found record := pgrecall.question_terms(g, split.plain);
BEGIN
    r.required := split.required;
    IF pgrecall.has_bm25(g) THEN
        RETURN pgrecall.with_bm25(g, r, split.plain, found.terms, found.weights);
    END IF;
    r.terms := found.terms;
    r.weights := found.weights;
    r.expected := found.expected;
    RETURN r;
END
$$;
