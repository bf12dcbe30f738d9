use super::super::tests::{golden, plan, refusal};

const WEB: &str = "<Project Sdk=\"Microsoft.NET.Sdk.Web\">\n  <PropertyGroup>\n    <TargetFramework>net8.0</TargetFramework>\n  </PropertyGroup>\n</Project>\n";
const TEST: &str = "<Project Sdk=\"Microsoft.NET.Sdk\"><PropertyGroup><OutputType>Exe</OutputType></PropertyGroup><ItemGroup><PackageReference Include=\"Microsoft.NET.Test.Sdk\" Version=\"17.0.0\" /></ItemGroup></Project>";

#[test]
fn the_web_project_of_a_solution_is_published() {
    insta::assert_snapshot!(golden(&[
        ("Shop.sln", ""),
        (
            "global.json",
            "{ \"sdk\": { \"version\": \"8.0.100\", \"rollForward\": \"latestFeature\" } }"
        ),
        ("src/Shop.Web/Shop.Web.csproj", WEB),
        ("src/Shop.Web/packages.lock.json", "{}"),
        (
            "src/Shop.Core/Shop.Core.csproj",
            "<Project Sdk=\"Microsoft.NET.Sdk\"></Project>"
        ),
        ("tests/Shop.Tests/Shop.Tests.csproj", TEST),
    ]));
}

#[test]
fn a_console_program_takes_what_stands_above_it() {
    insta::assert_snapshot!(golden(&[
        (
            "Directory.Build.props",
            "<Project>\n<PropertyGroup>\n<TargetFrameworks>net9.0;net10.0</TargetFrameworks>\n</PropertyGroup>\n</Project>"
        ),
        (
            "My App.fsproj",
            "<Project Sdk=\"Microsoft.NET.Sdk\"><PropertyGroup><OutputType>Exe</OutputType><AssemblyName>app</AssemblyName></PropertyGroup></Project>"
        ),
    ]));
}

#[test]
fn older_releases_are_told_the_port_in_their_way() {
    let text = WEB.replace("net8.0", "net6.0");
    let plan = plan(&[("a.csproj", &text)]).unwrap();
    assert!(
        plan.dockerfile.contains("ASPNETCORE_URLS=http://0.0.0.0:8080"),
        "{}",
        plan.dockerfile
    );
}

#[test]
fn several_projects_for_the_web_are_listed() {
    let files = [("a/a.csproj", WEB), ("b/b.csproj", WEB)];
    let said = refusal(&files);
    assert!(
        said.contains("a/a.csproj: a.dll b/b.csproj: b.dll") && said.contains("web: dotnet NAME.dll"),
        "{said}"
    );
    let mut named = files.to_vec();
    named.push(("Procfile", "web: dotnet b.dll\n"));
    assert!(plan(&named).unwrap().dockerfile.contains("publish b/b.csproj"));
    assert!(
        refusal(&[("a.csproj", "<Project Sdk=\"Microsoft.NET.Sdk\"></Project>")])
            .contains("no project becomes a program")
    );
}

#[test]
fn versions_that_are_none_are_named_with_their_line() {
    for (files, place) in [
        (
            vec![
                ("a.csproj", WEB),
                ("global.json", "{\n\"sdk\": {\n\"version\": \"8\"}}"),
            ],
            "`global.json`, line 3",
        ),
        (
            vec![(
                "a.csproj",
                "<Project Sdk=\"Microsoft.NET.Sdk.Web\"><PropertyGroup>\n<TargetFramework>net472</TargetFramework></PropertyGroup></Project>",
            )],
            "`a.csproj`, line 2",
        ),
        (
            vec![("a.csproj", WEB), ("global.json", "{")],
            "`global.json` cannot",
        ),
    ] {
        let error = plan(&files).unwrap_err();
        assert!(error.message.contains(place), "{error}");
    }
}
