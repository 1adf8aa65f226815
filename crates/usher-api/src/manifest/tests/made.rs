//! How the artifact is made, and what the function is given.

use super::*;

#[test]
fn a_manifest_says_how_its_artifact_is_made() {
    let text = "name = \"f\"\n[build]\ncommand = [\"make\"]\nartifact = \"out/f.wasm\"\n\
                watch = [\"src\", \"../shared\"]\nignore = [\"*.log\"]\n";
    let manifest = Manifest::read(text).unwrap();
    let build = manifest.build.unwrap();
    assert_eq!(build.command, ["make"]);
    assert_eq!(build.watch, ["src", "../shared"]);
    assert_eq!(build.ignore, ["*.log"]);
    assert_eq!(
        manifest.content,
        Content::Component("out/f.wasm".to_owned())
    );
    let text = "name = \"f\"\n[process]\ncontract = \"http\"\ncommand = [\"./run\"]\n\
                [build]\ncommand = [\"make\"]\nartifact = \"dist\"\n";
    let program = Manifest::read(text).unwrap();
    assert_eq!(program.content, Content::Folder("dist".to_owned()));
}

#[test]
fn a_build_is_no_setting_of_the_revision() {
    let text = "name = \"f\"\ncomponent = \"f.wasm\"\n[build]\ncommand = [\"make\"]\n";
    let manifest = Manifest::read(text).unwrap();
    assert_eq!(manifest.settings, Settings::default());
    assert_eq!(manifest.content, Content::Component("f.wasm".to_owned()));
}

#[test]
fn mistakes_about_the_build_are_told() {
    let all = mistakes(
        "name = \"f\"\ncomponent = \"f.wasm\"\n[build]\ncommand = []\n\
         artifact = \"../f.wasm\"\nwatch = [\"/etc\"]\nignore = [1]\ncomand = 1\n",
    );
    let expected = [
        "line 4: build.command: it names no program; ",
        "line 5: build.artifact: \"../f.wasm\" is nothing inside the manifest's folder; ",
        "line 6: build.watch: \"/etc\" is no path from the manifest's folder; ",
        "line 7: build.ignore: a whole number was found; ",
        "line 8: build.comand: unknown; did you mean \"command\"?",
    ];
    assert_eq!(all.len(), expected.len(), "{all:#?}");
    for (said, expected) in all.iter().zip(expected) {
        assert!(said.starts_with(expected), "{said} {expected}");
    }
    let both = "[build]\ncommand = [\"make\"]\nartifact = \"out.wasm\"\n";
    assert_eq!(
        one_mistake(both),
        "line 2: component: build.artifact names the component already; leave out one"
    );
    assert!(mistakes("name = \"f\"\n[build]\nartifact = \"f.wasm\"\n")[0].contains("command"));
}

#[test]
fn what_a_function_is_given_is_read() {
    let text = r#"
        name = "f"
        component = "f.wasm"
        [env]
        COLOUR = "blue"
        [config]
        "any.key with spaces" = "1"
        [secrets]
        DB_PASSWORD = "db-password"
        TOKEN = { secret = "token", as = "env" }
        [keyvalue]
        buckets = ["default", "owner:rates"]
        keys_max = 5
        "#;
    let settings = Manifest::read(text).unwrap().settings;
    assert_eq!(settings.env["COLOUR"], "blue");
    assert_eq!(settings.config["any.key with spaces"], "1");
    let used = |name: &str| {
        let used = &settings.secrets[name];
        (used.secret.as_str(), used.delivery)
    };
    assert_eq!(used("DB_PASSWORD"), ("db-password", Delivery::Store));
    assert_eq!(used("TOKEN"), ("token", Delivery::Env));
    assert_eq!(settings.keyvalue.buckets, ["default", "owner:rates"]);
    assert_eq!(settings.keyvalue.keys_max, 5);
    // What is written is read again: the client sends what it has read.
    let artifact = usher_core::id::Digest([0; 32]);
    let request = json!({"name": "f", "artifact": artifact, "settings": settings});
    assert_eq!(deploy_request(&request).unwrap().settings, settings);
}

#[test]
fn mistakes_in_what_a_function_is_given_are_told() {
    for (lines, at, said) in [
        ("[env]\n\"A=B\" = \"1\"", "env.A=B", "no name of a variable"),
        ("[env]\nA = 1", "env.A", "write a text in quotes"),
        ("[secrets]\nA = \"No Name\"", "secrets.A", "is not a name"),
        (
            "[secrets]\nA = { as = \"env\" }",
            "secrets.A.secret",
            "missing",
        ),
        (
            "[secrets]\nA = { secret = \"a\", as = \"file\" }",
            "secrets.A.as",
            "\"store\"",
        ),
        (
            "[secrets]\nA = { secret = \"a\", value = \"b\" }",
            "secrets.A.value",
            "unknown",
        ),
        (
            "[secrets]\nA = 5",
            "secrets.A",
            "a text in quotes or a table",
        ),
        (
            "[secrets]\n\"../A\" = \"a\"",
            "secrets.../A",
            "no name of a variable",
        ),
        (
            "[config]\nA = \"1\"\n[secrets]\nA = \"a\"",
            "secrets",
            "config too",
        ),
        (
            "[env]\nA = \"1\"\n[secrets]\nA = { secret = \"a\", as = \"env\" }",
            "secrets",
            "env too",
        ),
        (
            "[keyvalue]\nbuckets = [\"a.b\"]",
            "keyvalue.buckets",
            "no name of a bucket",
        ),
        ("[keyvalue]\nkeys_max = 0", "keyvalue.keys_max", "from 1 to"),
    ] {
        let mistake = one_mistake(lines);
        assert!(
            mistake.contains(&format!("{at}: ")) && mistake.contains(said),
            "{lines}: {mistake}"
        );
    }
    let program = "name = \"f\"\n[process]\ncontract = \"http\"\ncommand = [\"x\"]\n";
    for (lines, said) in [
        (
            "[process.environment]\nA = \"1\"\n[env]\nA = \"2\"",
            "process.environment too",
        ),
        ("[config]\nA = \"1\"", "write [env] for a program"),
        ("[keyvalue]\nbuckets = [\"default\"]", "only components"),
    ] {
        let all = mistakes(&format!("{program}{lines}"));
        assert!(all.len() == 1 && all[0].contains(said), "{all:?}");
    }
}
